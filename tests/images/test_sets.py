"""Sets of images."""

import glob
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet, read_image


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
    assert "cannot be accessed" in error(ImageSet.from_spec, [tmp_path / ("a" * 300)])
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


def link(path, to):
    try:
        path.symlink_to(to)
    except (OSError, NotImplementedError):
        pytest.skip("no symbolic links here")


@pytest.mark.parametrize("to", [".", "..", "deep", "deep/deeper"])
def test_links_that_lead_back_are_not_followed(tmp_path, to):
    root = touch(tmp_path / "root", "0.png", "deep/deeper/1.png")
    touch(tmp_path, "outside.png")
    link(root / "again", to)
    link(root / "deep" / "more", "..")
    link(root / "deep" / "deeper" / "most", root.resolve())
    expected = ["0.png", "deep_deeper_1.png"]
    assert names(ImageSet.from_spec([f"{root}/**/*"])) == expected
    assert names(ImageSet.from_spec([f"{root}/**"])) == expected
    assert names(ImageSet.from_spec([f"{root}/**/**/*.png"])) == expected
    assert names(ImageSet.from_folder(root, recursive=True)) == expected


def test_the_loop_of_the_cases(cases):
    for spec in (f"{cases}/loop/**/*", cases / "loop"):
        images = ImageSet.from_spec([spec])
        assert names(images) == ["0.png", "1.png"]
        (note,) = images.notes
        assert "1 link back to a folder above (again)" in note


def test_a_linked_folder_is_entered_once_under_its_own_name(tmp_path):
    touch(tmp_path, "root/b/0.png", "far/1.png")
    for name in ("a", "c"):
        link(tmp_path / "root" / name, "b")
        link(tmp_path / "root" / f"far_{name}", "../far")
    found = ["b_0.png", "far_a_1.png"]
    assert names(ImageSet.from_spec([f"{tmp_path}/root/**/*"])) == found
    images = ImageSet.from_spec([f"{tmp_path}/root/*/*"])
    assert names(images) == found
    assert "links to images of the set: 3 (a_0.png, c_0.png, far_c_1.png)" in images.notes[0]


def test_a_linked_file_is_taken_once(tmp_path):
    touch(tmp_path, "b.png", "c.png")
    link(tmp_path / "a.png", "b.png")
    os.link(tmp_path / "c.png", tmp_path / "hard.png")
    (tmp_path / "list.txt").write_text("a.png\nc.png\nb.png\n")
    for specs in ([tmp_path], [f"{tmp_path}/*.png"], [f"{tmp_path}/**/*"]):
        images = ImageSet.from_spec(specs)
        assert names(images) == ["b.png", "c.png", "hard.png"]
        assert "1 (a.png)" in images.notes[-1]
    assert names(ImageSet.from_spec([tmp_path / "list.txt"])) == ["c.png", "b.png"]
    both = [tmp_path / "a.png", tmp_path / "b.png"]
    assert names(ImageSet.from_spec(both)) == ["b.png"]
    assert names(ImageSet.from_spec([tmp_path / "a.png"])) == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
def test_what_is_no_file_is_reported_and_never_opened(tmp_path):
    touch(tmp_path, "a.png", "folder.png/b.png")
    os.mkfifo(tmp_path / "x.png")
    link(tmp_path / "gone.png", "nowhere.png")
    link(tmp_path / "self.png", "self.png")
    link(tmp_path / "null.png", os.devnull)
    with socket.socket(socket.AF_UNIX) as opened:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            opened.bind("s.png")
        finally:
            os.chdir(here)
    expected = (
        "2 broken links (gone.png, self.png), 1 device (null.png), 1 named pipe (x.png), "
        "1 socket (s.png)"
    )
    for spec, entered in ((tmp_path, []), (f"{tmp_path}/**/*", ["folder.png_b.png"])):
        images = ImageSet.from_spec([spec])
        assert names(images) == ["a.png", *entered]
        assert expected in images.notes[0]
        assert ("1 subfolder (folder.png)" in images.notes[0]) is (not entered)
    for name, kind in (("x", "named pipe"), ("null", "device"), ("gone", "broken link")):
        path = tmp_path / f"{name}.png"
        assert f"is a {kind}, expected an image" in error(ImageSet.from_spec, [path])
        assert f"is a {kind}, expected an image file" in error(read_image, path)
        (tmp_path / "list.txt").write_text(f"a.png\n{name}.png\n")
        assert f"line 2: {path} is a {kind}" in error(ImageSet.from_spec, [tmp_path / "list.txt"])
    os.mkfifo(tmp_path / "pipe.txt")
    assert "is a named pipe" in error(ImageSet.from_spec, [tmp_path / "pipe.txt"])


def test_what_is_left_out_is_said_shortly(tmp_path):
    touch(tmp_path, "a.png", ".hidden.png", "._a.jpg", "sub/b.png", "B.HEIC", "c.avif", "d.JFIF")
    for k in range(500):
        (tmp_path / f"{k:03d}.txt").touch()
    images = ImageSet.from_folder(tmp_path)
    assert names(images) == ["B.HEIC", "a.png", "c.avif", "d.JFIF"]
    assert images.notes == (
        f"left out of {tmp_path}: 500 files without an image's suffix (000.txt, 001.txt, 002.txt, "
        f"…), 2 hidden, 1 subfolder (sub), which '{tmp_path}/**/*' includes",
    )
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a\nb.txt").touch()
    assert "it has 1 file without an image's suffix" in error(
        ImageSet.from_folder, tmp_path / "none"
    )


def test_the_mixed_folder_of_the_cases(cases):
    images = ImageSet.from_spec([cases / "mixed"])
    expected = ["a.JPG", "b.jpeg", "c.jfif", "d.pgm", "e.tga", "f.avif"]
    assert names(images) == expected
    assert "1 file without an image's suffix (notes.txt), 1 subfolder (sub)" in images.notes[0]
    for entry in images:
        assert read_image(entry.path).pixels.shape == (3, 96, 128)
    assert names(ImageSet.from_spec([f"{cases}/mixed/**/*"])) == [*expected, "sub_g.png"]


@pytest.mark.parametrize("pattern", ["**", "*", "**/**", "**/*.png"])
def test_patterns_that_begin_here(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(touch(tmp_path, "a.png"))
    assert names(ImageSet.from_spec([pattern])) == ["a.png"]


def test_lists_in_other_encodings_and_with_odd_names(tmp_path):
    touch(tmp_path, "é.png", "a\u2028b.png")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "list.txt").write_bytes("é.png\r\na\u2028b.png\r\n".encode(encoding))
        assert names(ImageSet.from_spec([tmp_path / "list.txt"])) == ["é.png", "a\u2028b.png"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["*", "**", "**/*", "*/*", "a*/**/*", "**/a/*", "**/?.png", "[!a]*/*/*", "a/*"])
)
def test_patterns_match_what_glob_does_where_no_link_is(tmp_path_factory, pattern):
    root = tmp_path_factory.getbasetemp() / "patterns"
    touch(
        root, "0.png", "a/1.png", "a/a/2.png", "b/a/3.png", "b/.c/4.png", ".d.png", "ab/c/d/5.png"
    )
    there = {Path(p) for p in glob.glob(f"{root}/{pattern}", recursive=True) if Path(p).is_file()}  # noqa: PTH207
    assert {entry.path for entry in ImageSet.from_spec([f"{root}/{pattern}"])} == there


def test_patterns_say_what_is_hidden(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".c.jpg", "d/e.png", "d/.f.png", ".g/h.png")
    for pattern, hidden in (
        ("*", 3),
        ("*.png", 1),
        ("*/*", 1),
        ("**/*", 4),
        ("**", 4),
        ("**/*.png", 2),
        ("**/d/**/*.png", 1),
        ("a*", 0),
    ):
        images = ImageSet.from_spec([f"{tmp_path}/{pattern}"])
        assert not any(part.startswith(".") for name in names(images) for part in name.split("_"))
        assert (f"{hidden} hidden" in " ".join(images.notes)) is bool(hidden), pattern
    said = error(ImageSet.from_spec, [f"{tmp_path}/*.jpg"])
    assert "matches no images" in said
    assert "it matches 1 hidden" in said


@pytest.mark.parametrize("other", ["E\u0301.png", "é.jpg", "e\u0301.tif"])
def test_results_that_differ_in_unicode_form_alone(tmp_path, other):
    """File systems of macOS hold one of them."""
    entries = tuple(ImageEntry(name, tmp_path / name) for name in ("é.png", other))
    assert "would share one result" in error(ImageSet, entries)
    assert len(ImageSet((entries[0], ImageEntry("e.png", tmp_path / "e.png")))) == 2


def test_names_that_no_file_can_have(tmp_path):
    for name in ("a\0b.png", "\ud800.png"):
        assert "no file can have this name" in error(ImageSet.from_spec, [name])
        assert "no file can have this name" in error(read_image, name)
        assert "no such folder" in error(ImageSet.from_folder, name)
    assert "matches no images" in error(ImageSet.from_spec, ["a\0*.png"])
    touch(tmp_path, "a.png")
    for data in (b"a.png\0\n", "a.png\n".encode("utf-16-le"), "a.png\n".encode("utf-32")):
        (tmp_path / "list.txt").write_bytes(data)
        said = error(ImageSet.from_spec, [tmp_path / "list.txt"])
        assert "holds NUL characters" in said
        assert "save it as UTF-8" in said


def test_a_list_that_is_far_too_large_or_of_size_0(tmp_path):
    path = tmp_path / "list.txt"
    path.touch()
    assert "lists no images" in error(ImageSet.from_spec, [path])
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "is too large (1,099,511,627,776 bytes)" in error(ImageSet.from_spec, [path])
