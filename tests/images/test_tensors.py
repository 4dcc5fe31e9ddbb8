"""Pictures in memory: to files, through an attack, and back."""

from typing import Any

import numpy as np
import pytest
import torch

import iqattack
from iqattack import ImageSet
from iqattack.errors import InputError
from iqattack.images import read_image

BATCH = torch.randint(0, 256, (3, 3, 40, 56), dtype=torch.uint8)
MODEL = iqattack.wrap(
    lambda batch: batch.double().mean((1, 2, 3)),
    name="brightness", score_range=(0, 255), lower_better=False,
)  # fmt: skip


@pytest.mark.parametrize("kind", [lambda x: x, lambda x: x.numpy(), list, lambda x: [*x.numpy()]])
def test_pixels_come_back(tmp_path, kind):
    images = ImageSet.from_tensor(kind(BATCH), tmp_path / "a" / "b")
    assert [entry.name for entry in images] == ["00000.png", "00001.png", "00002.png"]
    for entry, pixels in zip(images, BATCH, strict=True):
        assert torch.equal(read_image(entry.path).pixels, pixels)
    before = {entry.path: entry.path.stat().st_mtime_ns for entry in images}
    again = ImageSet.from_tensor(BATCH, tmp_path / "a" / "b")
    assert again == images
    assert {entry.path: entry.path.stat().st_mtime_ns for entry in again} == before


def test_views_are_written_as_they_look(tmp_path):
    flipped = BATCH.numpy()[:, ::-1, :, ::-1]
    images = ImageSet.from_tensor(flipped, tmp_path)
    assert np.array_equal(read_image(images[1].path).pixels.numpy(), flipped[1])


def test_names_and_sizes_of_their_own(tmp_path):
    pictures = [BATCH[0], BATCH[1, :, :20]]
    images = ImageSet.from_tensor(pictures, tmp_path, names=["é", "b.PNG"])
    assert [entry.name for entry in images] == ["é.png", "b.PNG"]
    assert [tuple(read_image(e.path).pixels.shape) for e in images] == [(3, 40, 56), (3, 20, 56)]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BATCH / 255, r"picture 0: is float32, expected uint8 in 0\.\.255.*round\(\)\.to\(torch"),
        (BATCH.numpy() / 255, r"picture 0: is float64, .*astype\('uint8'\)"),
        (BATCH.permute(0, 2, 3, 1), r"has shape \(40, 56, 3\).*permute\(2, 0, 1\)"),
        (BATCH[0], r"picture 0: has shape \(40, 56\), expected \(3, H, W\)"),
        (BATCH[:, :1], r"has shape \(1, 40, 56\), expected \(3, H, W\) in RGB"),
        ([BATCH[0], "b.png"], r"picture 1: is str, expected a tensor or an array"),
        (BATCH[:0], "no images: expected at least one"),
    ],
)
def test_what_is_no_picture(tmp_path, images, message):
    with pytest.raises(InputError, match=message):
        ImageSet.from_tensor(images, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "names: expected 3, one for each picture, got 2"),
        ("abc", "names: expected 3"),
        (["a", "b", "../c"], r"name '\.\./c': expected the name of a file, without folders"),
        (["a", "b", ""], "name '': expected the name of a file"),
        (["a", "b", "a.png"], r"name 'a\.png': is given to 2 pictures"),
    ],
)
def test_names_that_are_none(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        ImageSet.from_tensor(BATCH, tmp_path / "folder", names)
    assert not (tmp_path / "folder").exists()


def test_another_picture_is_not_written_over(tmp_path):
    ImageSet.from_tensor(BATCH, tmp_path)
    with pytest.raises(InputError, match=r"00000\.png: is there and shows another picture; choose"):
        ImageSet.from_tensor(BATCH.flip(0), tmp_path)
    (tmp_path / "00001.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"00001\.png: is there and shows another picture; choose"):
        ImageSet.from_tensor(BATCH, tmp_path)
    assert torch.equal(read_image(tmp_path / "00000.png").pixels, BATCH[0])
    with pytest.raises(InputError, match=r"folder: cannot be made .*; choose another"):
        ImageSet.from_tensor(BATCH, tmp_path / "00000.png" / "folder")


def test_through_an_attack(tmp_path):
    images = ImageSet.from_tensor(BATCH, tmp_path / "clean")
    run = iqattack.attack(images, MODEL, constraint="linf:3", queries=20, out=tmp_path / "run")
    attacked = run.attacked()
    assert attacked.dtype == torch.uint8
    assert attacked.shape == BATCH.shape
    assert 0 < (attacked.int() - BATCH.int()).abs().max() <= 3
    assert attacked.double().mean((1, 2, 3)).tolist() == [r.score_adv for r in run.results]
    assert torch.equal(run.attacked(["00002.png", "00000.png"]), attacked[[2, 0]])
    with pytest.raises(InputError, match=r"has no attacked image of '00009\.png'; choose"):
        run.attacked(["00009.png"])
    pixels: Any = BATCH
    with pytest.raises(InputError, match=r"expected paths; ImageSet\.from_tensor\(pixels, FOLDER"):
        iqattack.attack(pixels, MODEL, out=tmp_path / "other")


def test_sizes_that_differ_are_no_tensor(tmp_path):
    images = ImageSet.from_tensor([BATCH[0], BATCH[1, :, :20]], tmp_path / "clean")
    run = iqattack.attack(images, MODEL, constraint="linf:3", queries=3, out=tmp_path / "run")
    message = r"00000\.png has 56×40 pixels and 00001\.png 56×20, which cannot be one tensor"
    with pytest.raises(InputError, match=message):
        run.attacked()
    assert run.attacked(["00001.png"]).shape == (1, 3, 20, 56)
