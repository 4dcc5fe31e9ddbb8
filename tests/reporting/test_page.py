"""What is written, without a browser."""

import json
import re
import shutil
import sqlite3
from base64 import b64decode
from contextlib import closing
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import iqattack
from iqattack.cli import main
from iqattack.engine import Interrupted
from iqattack.errors import InputError, RunError
from iqattack.images import read_image
from iqattack.reporting.rendering import options
from iqattack.reporting.telling import _scores
from iqattack.runs.pairs import read_pair, scored_pairs


class Parsed(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page if isinstance(page, str) else page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def data_of(page):
    text = (page.parent / "data.js").read_text(encoding="ascii")
    return json.loads(text.removeprefix("iqattack.data = ").removesuffix(";\n"))


def pixels_of(page, image):
    text = (page.parent / image["pixels"]).read_text(encoding="ascii")
    number, data = re.fullmatch(r"iqattack\.picture\((\d+), (.*)\);\n", text).groups()
    assert int(number) == image["number"]
    return json.loads(data)


def decoded(text):
    return np.asarray(Image.open(BytesIO(b64decode(text))))


@pytest.fixture
def copy(run, page, tmp_path):
    """The run in a folder of its own, to be changed."""
    shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("report"))
    return iqattack.open_run(tmp_path / "copy")


def test_everything_is_beside_the_page(page):
    parsed = Parsed(page)
    wanted = {attrs.get("src") or attrs.get("href") for tag, attrs in parsed.tags}
    files = {name for name in wanted if name and not name.startswith(("#", "data:"))}
    assert {"page.css", "result.css", "data.js", "plotly-basic.min.js"} <= files
    for image in data_of(page)["images"]:
        files |= {image["pixels"], image["thumb"]} - {None}
    assert all((page.parent / name).is_file() for name in files)
    there = {str(p.relative_to(page.parent)) for p in page.parent.rglob("*") if p.is_file()}
    assert there == files | {"index.html"}
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)


def test_no_folder_of_this_machine_is_told(page):
    for path in page.parent.rglob("*"):
        if path.is_file() and path.name != "plotly-basic.min.js":
            assert str(page.parents[2]).encode() not in path.read_bytes()


def test_names_are_escaped(page):
    parsed = Parsed(page)
    tags = [tag for tag, _ in parsed.tags]
    assert "b" not in tags
    assert all(attrs.get("src") for tag, attrs in parsed.tags if tag == "script")
    assert '<b>bright</b> & "co" under noise' in parsed.text
    assert "</script><script>alert(2)</script>.png" in parsed.text


def inline(page):
    """The pictures that are part of the page itself, decoded, two by two."""
    images = [attrs for tag, attrs in Parsed(page).tags if tag == "img"]
    pixels = [decoded(attrs["src"].removeprefix("data:image/png;base64,")) for attrs in images]
    return list(zip(pixels[::2], pixels[1::2], strict=True))


def test_the_largest_changes_come_first(page, run):
    text = page.read_text(encoding="utf-8")
    parts = [text.index(f'id="{name}-title"') for name in (
        "concerns", "pictures", "main", "measures", "charts", "images", "settings"
    )]  # fmt: skip
    assert parts == sorted(parts)
    done = [result for result in run.results if not result.failed]
    first = sorted(done, key=lambda result: -result.gain)[:3]
    for result, pair in zip(first, inline(page), strict=True):
        for path, pixels in zip((result.path, run.images / result.png_name), pair, strict=True):
            expected = read_image(path).pixels.permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(pixels, expected)


def test_names_of_all_pictures_are_escaped(copy, monkeypatch):
    monkeypatch.setattr("iqattack.reporting.page.SHOWN", 8)
    page = iqattack.report(copy)
    assert len(inline(page)) == 6  # one image was not changed, and one is broken
    parsed = Parsed(page)
    tags = [attrs for tag, attrs in parsed.tags if tag == "img"]
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in tags)
    assert "<img src=x onerror=alert(1)>.png, clean" in [attrs["alt"] for attrs in tags]


def test_small_changes_of_a_score_have_digits_enough(run):
    result = next(result for result in run.results if not result.failed)
    for clean, attacked, digits, text in (
        (20.0, 80.0, 1, ("20.0", "80.0")),
        (20.0, 20.0004, 1, ("20.0000", "20.0004")),
        (20.0, 20.0, 1, ("20.0", "20.0")),
    ):
        changed = result.model_copy(update={"score_clean": clean, "score_adv": attacked})
        assert _scores(changed, digits) == text


def test_pixels_are_those_of_the_run(page, run):
    for image, result in zip(data_of(page)["images"], run.results, strict=True):
        assert image["name"] == result.image
        data = pixels_of(page, image)
        if result.failed:
            assert (data["original"], data["attacked"], image["thumb"]) == (None, None, None)
            continue
        saved = read_image(run.images / result.png_name).pixels.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(decoded(data["attacked"]), saved)
        clean = read_image(result.path).pixels.permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(decoded(data["original"]), clean)
        change = np.abs(decoded(data["attacked"]).astype(int) - clean).max(axis=2)
        over = change > decoded(data["limit"])
        assert over.mean() == result.jnd_violation
        assert len(data["scored"]["gains"]) == result.queries


def test_a_run_under_way(make_run, tmp_path):
    done = []
    callbacks = iqattack.Callbacks(
        progress=lambda state: done.append(state.done if state.stage == "attack" else 0),
        stop=lambda: done[-1:] >= [2],
    )
    with pytest.raises(Interrupted):
        make_run(tmp_path, batch=1, callbacks=callbacks)
    run = iqattack.open_run(tmp_path / "run")
    assert 0 < run.summary().pending < 8
    page = iqattack.report(tmp_path / "run")
    assert len(data_of(page)["images"]) == len(run.results)
    reported = " ".join(Parsed(page).text.split())
    assert f"{run.summary().attacked} of 8 attacked" in reported
    assert f"This run is not finished: {run.summary().pending} images of 8 pending" in reported


def test_without_opinion_there_is_no_chart_of_it(make_run, tmp_path):
    page = iqattack.report(make_run(tmp_path, mos=False))
    ids = [attrs.get("id") for _, attrs in Parsed(page).tags]
    assert "chart-scores" in ids
    assert "chart-mos" not in ids


def test_originals_that_are_gone_or_others(copy):
    results = [result for result in copy.results if not result.failed]
    kept = {result.path: Path(result.path).read_bytes() for result in results[:2]}
    try:
        Path(results[0].path).unlink()
        Image.new("RGB", (24, 20)).save(results[1].path)  # of the same size
        images = data_of(iqattack.report(copy))["images"]
    finally:
        for name, data in kept.items():
            Path(name).write_bytes(data)
    gone, other = (next(i for i in images if i["name"] == r.image) for r in results[:2])
    assert gone["missing"] == f"{Path(results[0].path).name}: no such image; check the path"
    assert "is not the image that was attacked" in other["missing"]
    assert (gone["thumb"], other["thumb"]) == (None, None)
    reported = " ".join(Parsed(copy.folder / "report" / "index.html").text.split())
    assert "The pictures of 2 images cannot be read or are not the scored ones, such as" in reported
    assert "5 of 7 match the log" in reported


def of(page, result):
    return next(image for image in data_of(page)["images"] if image["name"] == result.image)


def test_a_saved_image_that_was_not_scored_is_not_shown(copy):
    other, kept, link = [result for result in copy.results if not result.failed][:3]
    png = copy.images / other.png_name
    Image.new("RGB", (24, 20)).save(png)
    (copy.images / link.png_name).rename(copy.folder / "elsewhere.png")
    (copy.images / link.png_name).symlink_to(copy.folder / "elsewhere.png")
    page = iqattack.report(copy)
    assert "the saved image is not the one that was scored" in of(page, other)["missing"]
    assert "is a link, which a run must not contain" in of(page, link)["missing"]
    assert (of(page, kept)["missing"], of(page, other)["thumb"]) == (None, None)
    assert pixels_of(page, of(page, link))["attacked"] is None
    copy.images.rename(copy.folder / "images")
    copy.images.symlink_to(copy.folder / "images")
    with pytest.raises(RunError, match="adversarial: is a link"):
        read_pair(copy, kept, scored_pairs(copy, [kept])[kept.image])


@pytest.mark.parametrize("version", ["0.2.0", "0.1.0"])  # which kept no SHA-256
def test_a_run_takes_no_picture_of_this_machine_into_its_page(copy, tmp_path, version):
    result = next(result for result in copy.results if not result.failed)
    private, exif = tmp_path / "holiday.jpg", Image.Exif()
    exif[0x010E] = "at home"
    Image.new("RGB", (24, 20), "teal").save(private, exif=exif)
    png = copy.images / result.png_name
    png.unlink()
    png.symlink_to(private)
    with closing(sqlite3.connect(copy.folder / "log.sqlite")) as log:
        changes = json.dumps({"path": str(private), "sha256": None})
        log.execute("UPDATE result SET json = json_patch(json, ?) WHERE task = 1", (changes,))
        log.commit()
    toml = copy.folder / "run.toml"
    toml.write_text(re.sub('iqattack = ".*"', f'iqattack = "{version}"', toml.read_text()))
    run = iqattack.open_run(copy.folder)
    if version == "0.2.0":
        with pytest.raises(RunError, match="it has no SHA-256 of its clean image"):
            iqattack.report(run)
        return
    page = iqattack.report(run)
    shown = pixels_of(page, of(page, result))
    assert (shown["original"], shown["attacked"], of(page, result)["thumb"]) == (None,) * 3
    png.unlink()
    png.write_bytes(private.read_bytes())
    (there,) = (row for row in run.results if row.image == result.image)
    with pytest.raises(InputError, match=r"holiday\.jpg: is not the image that was attacked"):
        read_pair(run, there, scored_pairs(run, [there])[there.image])


def test_nothing_of_a_file_but_its_pixels_is_in_the_page(copy):
    result = next(result for result in copy.results if not result.failed)
    png, reported = copy.images / result.png_name, PngInfo()
    reported.add_text("comment", "at home")
    Image.open(png).save(png, pnginfo=reported)
    page = iqattack.report(copy)
    shown = pixels_of(page, of(page, result))["attacked"]
    np.testing.assert_array_equal(decoded(shown), np.asarray(Image.open(png)))
    assert b"at home" in png.read_bytes()
    assert b"at home" not in b64decode(shown)


@pytest.fixture
def quick(monkeypatch):
    """Pages without pictures."""
    none = dict.fromkeys(("thumb", "pixels", "missing"))
    monkeypatch.setattr("iqattack.reporting.page.write_pictures", lambda *_: none)


@pytest.mark.parametrize(
    "names",
    [
        ("data.js", "thesis.txt"),
        ("data.js",),  # of another program
        ("index.html",),
        ("data.js", "images/holiday.jpg"),
    ],
)
def test_a_folder_that_holds_more_than_a_page_is_left_alone(copy, page, tmp_path, names):
    site = tmp_path / "site"
    if len(names) > 1:
        shutil.copytree(page.parent, site)
    for name in names:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        if name != "data.js" or len(names) == 1:
            (site / name).write_text("precious")
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    with pytest.raises(
        InputError, match=f"is not a report, but has {names[-1]}; give another --out"
    ):
        iqattack.report(copy, site)
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_no_page_is_written_through_a_link(copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (copy.folder / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="report: is a link, expected a folder"):
        iqattack.report(copy)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_an_earlier_page_is_there_until_the_new_one_is(copy, tmp_path):
    page = iqattack.report(copy, tmp_path / "a" / "page")
    (page.parent / ".DS_Store").touch()  # which a file manager leaves
    before = page.read_bytes()
    whole = Path.rename

    def rename(path, target):
        if target == page.parent and path.name.startswith(".report-"):
            raise OSError(5, "Input/output error")
        return whole(path, target)

    def put_something(path, target):
        found = whole(path, target)
        if path == page.parent:
            (target / "thesis.txt").touch()
        return found

    for refused in (rename, put_something):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "rename", refused)
            with pytest.raises(InputError):
                iqattack.report(copy, page.parent)
        assert page.read_bytes() == before
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["page"]
        if refused is put_something:
            (page.parent / "thesis.txt").unlink()
    iqattack.report(copy, page.parent)


def test_an_earlier_page_is_replaced_and_nothing_else(copy, tmp_path):
    page = iqattack.report(copy, tmp_path / "a" / "page")
    (page.parent / "images" / "999999.js").touch()  # of a run with more images
    assert iqattack.report(copy, page.parent) == page
    assert not (page.parent / "images" / "999999.js").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["page"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"full: is not a report, but has .*; give another"):
        iqattack.report(copy, tmp_path / "full")
    with pytest.raises(InputError, match=r"is a file, expected a folder"):
        iqattack.report(copy, tmp_path / "full" / "thesis.tex")


@pytest.mark.usefixtures("quick")
def test_what_publishes_a_page_stays_when_it_is_replaced(copy, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "CNAME").write_text("page.example.org\n")
    page = iqattack.report(copy, site)
    (site / ".nojekyll").touch()
    (site / ".gitignore").write_text(".DS_Store\n")
    first = page.stat().st_mtime_ns
    iqattack.report(copy, site)
    assert page.stat().st_mtime_ns > first
    assert (site / "CNAME").read_text() == "page.example.org\n"
    assert (site / ".gitignore").read_text() == ".DS_Store\n"
    assert (site / ".nojekyll").is_file()
    (site / "CNAME").unlink()
    (site / "CNAME").symlink_to(copy.folder / "run.toml")
    with pytest.raises(InputError, match="not a report, but has CNAME"):
        iqattack.report(copy, site)


@pytest.mark.parametrize("out", [".", "../site", "images/..", "..", None])
def test_the_working_folder_is_not_replaced(copy, tmp_path, monkeypatch, out):
    """Whoever is in it would be nowhere; said before a picture is drawn."""
    monkeypatch.setattr("iqattack.reporting.page.measured", None)
    site = copy.folder / "report" if out is None else tmp_path / "site"
    (site / "images").mkdir(parents=True)
    monkeypatch.chdir(site / "images" if out == ".." else site)
    with pytest.raises(InputError, match=r"is the working folder or above it, .* another --out"):
        iqattack.report(copy, out)


def test_what_cannot_be_written_leaves_nothing(copy, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("iqattack.reporting.page._copy_assets", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); free"):
        iqattack.report(copy, tmp_path / "a" / "page")
    assert list((tmp_path / "a").iterdir()) == []


def test_no_run_or_nothing_finished(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: is not a run")
    with pytest.raises(RunError, match="no such run"):
        iqattack.report(tmp_path / "none")


def test_command(copy, capsys):
    assert main(["report", str(copy.folder), "--out", str(copy.folder / "p")]) == 0
    said = capsys.readouterr()
    assert said.out == f"the page         {copy.folder / 'p' / 'index.html'}\n"
    last = json.loads(said.err.splitlines()[-1])
    assert last == {"event": "progress", "stage": "report", "done": 8, "images": 8}


def test_a_notice_with_an_option_and_markup():
    """Escaped once: the option stays in one line, and what looks like markup is text."""
    text = "<i>R&D's</i> scores: give --score-range 0,1 instead"
    notice = options(text)
    parsed = Parsed(str(notice))
    assert parsed.text == text
    assert parsed.tags == [("span", {"class": "option"})]
    assert '<span class="option">--score-range 0,1</span>' in notice


def test_no_markup_is_shown_as_text(copy, monkeypatch):
    monkeypatch.setattr("iqattack.reporting.content.concerns", lambda *_: ["Give --batch 1, <b>."])
    parsed = Parsed(iqattack.report(copy))
    assert "Give --batch 1, <b>." in parsed.text
    assert "span class" not in parsed.text
    assert ("span", {"class": "option"}) in parsed.tags
