"""What results look like in a notebook and in a terminal."""

from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack import notebook
from iqattack.auditing import Card
from iqattack.errors import InputError, RunError
from iqattack.images import ImageEntry, ImageSet
from iqattack.probing.finding import Finding, Probe, Verdict
from iqattack.runs import Difference, Run, VerifyResult, compare, execute
from iqattack.runs.numbers import percent
from iqattack.runs.pixels import fitted
from iqattack.runs.showing import FACTOR, GAP, SIDE

HOSTILE = '<img src=x onerror=alert(1)> & "co"\'.png'


class Page(HTMLParser):
    """The tags and the text of a piece of HTML; fails where one is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text, self.attributes, self._open = [], "", [], []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def checked(html: str, first: str) -> Page:
    """A page that begins with a sentence, and loads and runs nothing."""
    page = Page(html)
    assert page.text.startswith(first)
    assert not {"script", "link", "style", "iframe"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    styles = " ".join(value for name, value in page.attributes if name == "style")
    assert "#" not in styles  # no colour of its own
    return page


@pytest.fixture
def run(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        execute(made, images, brightness)
    return Run.open(made.folder)


@pytest.fixture
def hostile(tmp_path, photos, settings, brightness):
    entries = [ImageEntry(HOSTILE, photos / "0.png"), ImageEntry("1.png", photos / "1.png")]
    images = ImageSet(tuple(entries))
    with Run.create(tmp_path / "<b>run</b>", settings(), brightness) as made:
        execute(made, images, brightness)
    return Run.open(made.folder)


def test_a_run_and_its_summary(run):
    summary = run.summary()
    page = checked(summary._repr_html_(), summary.verdict.text)
    assert run._repr_html_() == summary._repr_html_()
    for text in (str(summary), repr(summary), page.text):
        assert text.startswith(summary.verdict.text)
        assert percent(summary.mean_gain) in text
        assert "5 images" in text
    assert (
        repr(run)
        == f"Run({str(run.folder)!r}: noise in linf:3 on brightness, 12 queries per image)"
    )


def test_a_run_of_which_nothing_is_finished(tmp_path, settings, brightness):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        html = made._repr_html_()
        assert "no image of this run is finished yet" in checked(html, "").text
        with pytest.raises(RunError, match="no image is finished yet"):
            made.show()


def test_a_comparison(run, tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "<i>", settings(attack="square"), brightness) as made:
        execute(made, images, brightness)
    comparison = compare([run, Run.open(made.folder)])
    best = max(comparison.rows, key=lambda row: row.gain.value)
    page = checked(comparison._repr_html_(), "Of 2 runs on 5 images")
    for text in (str(comparison), page.text):
        assert f"{best.run} ({best.attack}) gained most: {percent(best.gain.value)}" in text
    assert "i" not in page.tags
    assert len(repr(comparison).splitlines()) == 4
    assert {"square", "noise"} <= set(repr(comparison).split())


def test_a_verified_run():
    good = VerifyResult(3, 0, 0, ())
    assert repr(good) == good.text == "3 images checked: all as reported"
    checked(good._repr_html_(), good.text)
    bad = VerifyResult(
        3, 1, 2, (Difference(HOSTILE, "score is <b>2</b>, reported 1"),), ("a note",)
    )
    page = checked(bad._repr_html_(), "3 images checked: 1 differ, 1 failed before, 2 pending")
    for text in (repr(bad), page.text):
        assert f"{HOSTILE}: score is <b>2</b>, reported 1" in text
        assert "note: a note" in text


def test_a_probe():
    findings = (
        Finding("noise", "none"),
        Finding("sizes", "<b>32</b>", Verdict.PROBLEM, "shrink", "--input size=32"),
        Finding("speed", "slow", Verdict.NOTE),
    )
    probe = Probe("m<i>", findings, 1, 400, ("range",))
    page = checked(probe._repr_html_(), "m<i>: 1 problem, 1 note, in 1 query.")
    for text in (repr(probe), page.text):
        assert "<b>32</b>" in text
        assert "options for iqattack attack: --input size=32" in text
        assert "not checked, too few queries left: range" in text


def test_a_card(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "p").mkdir()
    for k in range(3):
        pixels = rng.integers(40 * k, 60 + 40 * k, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p/{k}.png")
    model = iqattack.wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="<b>m</b>",
        score_range=(0.0, 255.0),
        lower_better=False,
    )
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nversion = 1\nabout = "Mine."\nbudgets = [3, 6]\nseeds = [0]\n'
        '[[attempts]]\nattack = "noise"\nconstraint = "linf:3"\n'
    )
    card = iqattack.audit(
        model,
        tmp_path / "p",
        out=tmp_path / "a",
        suite=str(tmp_path / "mine.toml"),
        verified=False,
    )
    assert isinstance(card, Card)
    page = checked(card._repr_html_(), card.verdict)
    assert str(card) == repr(card)
    for text in (repr(card), page.text):
        assert text.startswith("<b>m</b>: with 6 queries")
        assert "worst case" in text
        assert "noise" in text


# -- an image -------------------------------------------------------------------------------------


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_an_image_before_and_after(run, photos):
    moved = max(run.results, key=lambda row: row.gain)
    shown = run.show()
    assert shown.result.model_copy(update={"jod": None, "flip": None}) == moved
    clean, attacked = pixels(photos / moved.image), pixels(run.images / moved.png_name)
    difference = np.minimum(FACTOR * np.abs(attacked.astype(int) - clean.astype(int)), 255)
    for picture, expected in zip(shown.pictures, (clean, attacked, difference), strict=True):
        times = picture.shape[0] // expected.shape[0]
        assert times == SIDE // (2 * 24)
        np.testing.assert_array_equal(picture[::times, ::times], expected)
    page = checked(shown._repr_html_(), f"{moved.image}: made to look ")
    assert page.tags.count("img") == 3
    for text in (repr(shown), page.text):
        for value in (moved.score_clean, moved.score_adv):
            assert f"{value:.3f}" in text
        assert f"{moved.ssim:.4f}" in text
    assert run.show(-1).result == run.show(4).result == run.show("4.png").result
    assert run.show(4).result.image == run.results[4].image


def test_an_image_as_a_file(run, tmp_path):
    shown = run.show(1)
    shown.save(tmp_path / "s.png")
    written = pixels(tmp_path / "s.png")
    width = shown.pictures[0].shape[1]
    assert written.shape == (shown.pictures[0].shape[0], 3 * width + 2 * GAP, 3)
    np.testing.assert_array_equal(written[:, -width:], shown.pictures[2])
    with Image.open(BytesIO(shown._repr_png_())) as image:
        assert image.size == written.shape[1::-1]
    with pytest.raises(InputError, match=r"expected a name that ends in \.png"):
        shown.save(tmp_path / "s.jpg")
    with pytest.raises(InputError, match="cannot be written"):
        shown.save(tmp_path / "gone" / "s.png")


def test_large_images_are_scaled_and_small_ones_repeated():
    wide = np.zeros((400, 1000, 3), np.uint8)
    assert fitted(wide, 320).shape == (128, 320, 3)
    assert fitted(np.zeros((1, 2000, 3), np.uint8), 320).shape == (1, 320, 3)
    assert fitted(wide[:200, :300], 320).shape == (200, 300, 3)
    assert fitted(wide[:2, :3], 320).shape == (106, 159, 3)


def test_names_are_texts(hostile):
    page = checked(hostile.show(0)._repr_html_(), HOSTILE)
    assert page.tags.count("img") == 3
    checked(hostile._repr_html_(), hostile.summary().verdict.text)
    assert notebook.escaped("a\x1b[31m") == "a\\x1b[31m"


def test_images_that_cannot_be_shown(tmp_path, photos, settings, brightness, images, run):
    with pytest.raises(InputError, match=r"image '9\.png': .*run has no result for it; it has "):
        run.show("9.png")
    with pytest.raises(InputError, match=r"image 5: .* has 5 finished or failed images"):
        run.show(5)
    (run.images / "1.png").unlink()
    with pytest.raises(InputError, match=r"1\.png"):
        run.show("1.png")
    (photos / "2.png").write_bytes(b"")
    with Run.create(tmp_path / "other", settings(), brightness) as made:
        execute(made, images, brightness)
    with pytest.raises(InputError, match=r"2\.png: failed: .*there is no attacked image to show"):
        made.show("2.png")


def test_long_lists_are_cut():
    many = [str(k) for k in range(60)]
    assert Page(notebook.items(many)).text.endswith("49and 10 more")
    assert Page(notebook.table(("a",), [(text,) for text in many])).text.endswith("49and 10 more")
    assert notebook.items([]) == ""
