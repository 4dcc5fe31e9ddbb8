"""The page of filter-search: means of the same images, gain at equal SSIM, paired differences."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
page = pytest.importorskip("filter_search", reason="matplotlib is not installed: the extra 'bench'")
import cells  # noqa: E402 - beside it
import sweeps  # noqa: E402


def row(image: int, gain: float, attack=page.OURS, **other):
    settings: dict[str, Any] = {
        "model": "cnniqa", "box": "linf:3", "queries": 500, "code": "", "clean": 20.0 + image,
        "attacked": 60.0 - image, "spent": 500, "ssim": 0.95,
    }  # fmt: skip
    return cells.Row(image=f"{image}.png", gain=gain, attack=attack, **settings | other)


def test_gain_at_a_mean_ssim_is_interpolated_between_boxes() -> None:
    """Two images in two boxes beside the clean one: means 1, 0.97, 0.93 and 0, 10, 20 points."""
    similarity = np.array([[1.0, 0.98, 0.94], [1.0, 0.96, 0.92]])
    gains = np.array([[0.0, 5.0, 10.0], [0.0, 15.0, 30.0]])
    for wanted, expected in ((1.0, 0.0), (0.985, 5.0), (0.97, 10.0), (0.95, 15.0), (0.5, 20.0)):
        assert sweeps.gain_at(wanted, *similarity.T, *gains.T) == pytest.approx(expected)


def test_an_attack_that_stays_more_similar_has_no_gain_there() -> None:
    n = 9
    far = (np.tile([1.0, 0.97, 0.93], (n, 1)), np.tile([0.0, 10.0, 20.0], (n, 1)))
    near = (np.tile([1.0, 0.99, 0.97], (n, 1)), np.tile([0.0, 4.0, 6.0], (n, 1)))
    ours, other = page.ssim_lines({page.OURS: far, "square": near})
    assert (ours["attack"], other["attack"]) == (page.OURS, "square")
    assert other["gain at SSIM 0.98"] == "5.0 [5.0, 5.0]"
    assert other[f"{page.OURS} ahead by, 0.98"] == "+1.7 [+1.7, +1.7]"
    assert other["gain at SSIM 0.95"] == "above 0.95 in every box"
    assert other[f"{page.OURS} ahead by, 0.95"] == "–"


def test_parts_are_means_of_the_images_that_all_of_them_have() -> None:
    full = [row(k, 0.5 if k > 7 else 0.2) for k in range(24)]
    part = [row(k, 0.1, attack=f"{page.OURS}:filters=0") for k in range(8)]
    text = page.part_text([*full, *part])
    assert "| all of it | 20.0 [20.0, 20.0] | +0.0 [+0.0, +0.0] | 500 | 8 |" in text
    assert "| bank and regions | 10.0 [10.0, 10.0] | -10.0 [-10.0, -10.0] | 500 | 8 |" in text
    assert "| no channel turned | – | – | – | 0 |" in text


def test_a_line_of_gains_takes_whole_seeds_alone() -> None:
    rows = [row(k, 0.2, seed=0) for k in range(24)] + [row(k, 0.4, seed=1) for k in range(24)]
    rows += [row(k, 0.9, seed=2) for k in range(23)]
    rows += [row(k, 0.3, images="samples") for k in range(24)]
    line, samples = [text for text in page.gain_text(rows).splitlines() if "cnniqa" in text]
    assert "| cnniqa, sample set | 500 | 30.0 [30.0, 30.0] |" in samples
    assert "| cnniqa | 500 | 30.0 [30.0, 30.0] |" in line
    assert "| 20.0, 40.0 | 24 |" in line
