"""Baselines at their strongest: what is chosen on, what is reported, and the page of it."""

import math
import sys
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra 'bench'")
BETTER = {"square:grey=yes": 0.2, "nes:last=1": 0.3}  # gains on the choosing half


@pytest.fixture
def baselines(on_stand_in):
    import baselines  # noqa: PLC0415 - from benchmarks/

    yield baselines
    for name in ("baselines", "limit", "cells", "common", "fingerprints", "scorers", "scnn"):
        sys.modules.pop(name, None)


@pytest.fixture
def rows(baselines, monkeypatch):
    """Four images of each half, 0.1 each but for the better variants; a range of 0.25 to go."""
    monkeypatch.setattr(
        baselines, "reach", lambda _: {entry.name: 0.25 for entry in baselines.image_set("dev")}
    )

    def row(half, spec, model, image):
        gain = 0.1 if half is baselines.REPORTING else BETTER.get(spec, 0.1)
        return baselines.Row(
            model, baselines.BOX, baselines.QUERIES, spec, "", image, 0.0, gain, gain, 500, 1.0
        )

    return [
        row(half, spec, model, image)
        for half in (baselines.CHOOSING, baselines.REPORTING)
        for spec in (*baselines.EVERY, *baselines.OTHERS)
        for model in half.models
        for image in half.names[:4]
    ]


def test_halves_share_nothing_and_have_all_distortions(baselines):
    choosing, reporting = baselines.CHOOSING, baselines.REPORTING
    assert not {*choosing.models} & {*reporting.models}
    assert sorted((*choosing.images, *reporting.images)) == list(range(24))
    for half in (choosing, reporting):
        for first in range(0, 12, 4):
            kinds = {name.partition("_")[2][:-5] for name in half.names[first : first + 4]}
            assert kinds == {"none", "blur", "jpeg", "noise"}
    assert choosing.names[4].startswith("kodim09")


def test_specs_are_attacks_with_options_other_than_the_default(baselines):
    from iqattack.attacks import canonical_attack, load_attack  # noqa: PLC0415

    for attack, specs in baselines.VARIANTS.items():
        assert specs[0] == attack
        loaded = [load_attack(spec) for spec in specs]
        assert len({canonical_attack(spec) for spec in specs}) == len(loaded)
    assert baselines.PAPERS in baselines.VARIANTS["nes"]


def test_the_reporting_half_has_defaults_the_papers_form_and_what_is_preferred(baselines, rows):
    best = baselines.preferred(baselines.gains(rows, baselines.CHOOSING, baselines.EVERY))
    assert best == {
        "nes": "nes:last=1", "square": "square:grey=yes", "ran": "ran", "sparse-rs": "sparse-rs",
    }  # fmt: skip
    assert baselines.reported(best) == [
        "nes", baselines.PAPERS, "nes:last=1", "square", "square:grey=yes", "ran", "sparse-rs",
        "sparse-rs:grey=no",
        *baselines.OTHERS,
    ]  # fmt: skip


def test_only_what_is_complete_is_shown_and_limits_others(baselines, rows):
    """A variant of three images is only begun; of one with four, others lose their fifth."""
    half = baselines.CHOOSING
    more = [replace(r, image=half.names[4]) for r in rows if r.attack == "ran"]
    begun = [r for r in rows if (r.attack, r.image) != ("square", half.names[0])]
    found = baselines.gains(begun + more, half, baselines.EVERY)
    assert set(found) == {*baselines.EVERY} - {"square"}
    assert {points.shape for points in found.values()} == {(3, 4)}
    assert set(baselines.preferred(found)) == {*baselines.VARIANTS} - {"square"}


def test_the_page_of_a_few_rows(baselines, rows, monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "measured", lambda _: (rows, "Left out.\n\n"))
    monkeypatch.setattr(baselines, "ROOT", tmp_path)
    monkeypatch.setattr(baselines, "PAGE", tmp_path / "page.md")
    baselines.write_page()
    page = baselines.PAGE.read_text(encoding="utf-8")
    assert "<!--" not in page
    assert "Left out." in page
    assert "| `nes:last=1` | 25.0 | 25.0 | 25.0 | 25.0 |" in page  # no more than the range leaves
    same = "+0.0 [+0.0, +0.0]"
    assert f"| square | `square:grey=yes` | +10.0 [+10.0, +10.0] | {same} |" in page
    assert "| ran | the default | – | – |" in page
    assert page.count("| `filter-search` |") == 1


def test_a_page_of_nothing_says_so(baselines):
    assert set(baselines.page([]).values()) > {"Not measured yet.", "–"}


def test_gains_end_where_the_score_range_does(baselines):
    left = baselines.reach("cnniqa")
    assert len(left) == 24
    assert all(0.0 < gain < 1.0 and math.isfinite(gain) for gain in left.values())
