"""Sets of images."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1)).save(path, format="PNG")
    return folder


def names(images):
    return [entry.name for entry in images]


def error(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_takes_images_only_sorted_by_name(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpeg", "c.webp", "notes.md", "._a.jpg", "folder.png/d.png")
    images = ImageSet.from_folder(tmp_path)
    assert names(images) == ["a.jpeg", "b.PNG", "c.webp"]
    assert images[0] == ImageEntry("a.jpeg", tmp_path / "a.jpeg", None)
    assert images[0].png_name == "a.png"
    assert names(images[1:]) == ["b.PNG", "c.webp"]
    assert len(images) == 3
    assert ImageSet.from_folder(str(tmp_path)) == images


def test_subfolders_become_part_of_the_name(tmp_path):
    touch(tmp_path, "live/jp2k/img1.bmp", "live/jpeg/img1.bmp", "live/x.bmp", "live/.git/y.bmp")
    expected = ["jp2k_img1.bmp", "jpeg_img1.bmp", "x.bmp"]
    assert names(ImageSet.from_folder(tmp_path / "live", recursive=True)) == expected
    assert names(ImageSet.from_spec([f"{tmp_path}/live/**/*"])) == expected
    assert names(ImageSet.from_spec([f"{tmp_path}/live/jp*/*.bmp"])) == expected[:2]
    # An image's name, and with it its seed, does not depend on what else a pattern matches.
    assert names(ImageSet.from_spec([f"{tmp_path}/live/*/img1.bmp"])) == expected[:2]
    assert names(ImageSet.from_spec([f"{tmp_path}/live/jp2k/*"])) == ["img1.bmp"]


def test_specs_of_every_kind_keep_their_order(tmp_path, monkeypatch):
    touch(tmp_path, "one/b.png", "one/a.png", "two/z [1].png", "two/y.png", "x.png")
    text = "\ufeff# a list\n\n two/z [1].png \nx.png\n"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    specs = [tmp_path / "list.txt", str(tmp_path / "one"), f"{tmp_path}/two/y*"]
    assert names(ImageSet.from_spec(specs)) == ["z [1].png", "x.png", "a.png", "b.png", "y.png"]
    monkeypatch.chdir(tmp_path)
    assert names(ImageSet.from_spec(["two/z [1].png"])) == ["z [1].png"]  # no pattern: it exists
    assert names(ImageSet.from_spec(["*/?.png"])) == ["one_a.png", "one_b.png", "two_y.png"]


def test_two_images_with_one_name_or_one_result(tmp_path):
    touch(tmp_path, "one/a.png", "two/a.png", "three/A.jpg")
    both = error(ImageSet.from_spec, [tmp_path / "one", tmp_path / "two"])
    assert "have one name" in both
    assert str(tmp_path / "one" / "a.png") in both
    assert str(tmp_path / "two" / "a.png") in both
    assert "one result" in error(ImageSet.from_spec, [tmp_path / "one", tmp_path / "three"])
    twice = [tmp_path / "one", tmp_path / "one" / "a.png"]
    assert "have one name" in error(ImageSet.from_spec, twice)


def test_nothing_found(tmp_path):
    touch(tmp_path, "full/deep/a.png")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "bad.txt").write_text("full/deep/a.png\nb.png\n")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xe4.png")
    assert "no such folder" in error(ImageSet.from_folder, tmp_path / "missing")
    assert "/**/*" in error(ImageSet.from_folder, tmp_path / "full")
    assert "no such image, folder" in error(ImageSet.from_spec, [tmp_path / "missing.png"])
    assert "matches no images" in error(ImageSet.from_spec, [f"{tmp_path}/*.txt"])
    assert "lists no images" in error(ImageSet.from_spec, [tmp_path / "empty.txt"])
    assert "bad.txt, line 2" in error(ImageSet.from_spec, [tmp_path / "bad.txt"])
    assert "latin.txt" in error(ImageSet.from_spec, [tmp_path / "latin.txt"])
    assert "cannot be reached" in error(ImageSet.from_spec, [tmp_path / ("a" * 300)])
    assert "at least one" in error(ImageSet.from_spec, [])


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_that_no_log_can_hold(tmp_path):
    touch(tmp_path, "a\nb.png")
    assert "printable" in error(ImageSet.from_folder, tmp_path)
    raw = os.fsencode(tmp_path) + b"/raw/\xff.png"
    os.mkdir(os.path.dirname(raw))  # noqa: PTH102, PTH120
    with open(raw, "wb"):  # noqa: PTH123
        pass
    assert "printable" in error(ImageSet.from_folder, tmp_path / "raw")


def test_limit(tmp_path):
    images = ImageSet.from_folder(touch(tmp_path, "a.png", "b.png", "c.png"))
    assert names(images.limit(2)) == ["a.png", "b.png"]
    assert images.limit(9) == images
    assert "limit 0" in error(images.limit, 0)


def test_with_mos_needs_them_all(tmp_path):
    images = ImageSet.from_folder(touch(tmp_path, "a.png", "b.png"))
    scored = images.with_mos({"b.png": 2.5, "a.png": 1.0, "other": 0.0})
    assert [entry.mos for entry in scored] == [1.0, 2.5]
    assert [entry.mos for entry in images] == [None, None]
    assert "1 (b.png) of 2" in error(images.with_mos, {"a.png": 1.0})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.from_regex(r"[abAB]{1,2}\.(png|jpg)", fullmatch=True), min_size=1, max_size=5))
def test_results_of_a_set_never_collide(tmp_path_factory, files):
    folder = tmp_path_factory.getbasetemp()
    entries = tuple(ImageEntry(name, folder / name) for name in files)
    stems = {name.rsplit(".", 1)[0].lower() for name in files}
    if len(stems) < len(files):
        error(ImageSet, entries)
    else:
        results = {entry.png_name.lower() for entry in ImageSet(entries)}
        assert len(results) == len(files)


def test_a_name_too_long_for_its_result_is_refused_at_once(tmp_path):
    folder = tmp_path.joinpath(*["d" * 100] * 3)
    touch(folder, "a.png")
    said = error(ImageSet.from_folder, tmp_path, recursive=True)
    assert "longer than the 255 bytes that a file name may have; rename it" in said
    assert names(ImageSet.from_folder(touch(tmp_path / "b", "é" * 125 + ".jpeg"))) == [
        "é" * 125 + ".jpeg"
    ]
