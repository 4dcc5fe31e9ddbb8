"""The page of an audit: from the card and the runs beneath it, whole or not."""

import json
import re
import runpy
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.auditing import Suite, read_card
from iqattack.auditing.audit import is_audit
from iqattack.cli import main
from iqattack.errors import InputError, RunError
from iqattack.images import read_image
from iqattack.reporting import write_card_page
from iqattack.reporting.card_page import _data, card_page
from iqattack.reporting.rendering import inline
from iqattack.reporting.telling import LONGEST, runs_here, smaller

_cards = runpy.run_path(str(Path(__file__).with_name("cards.py")))


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of what is shown."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.within = [], "", None
        self.feed(page if isinstance(page, str) else page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within = tag

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        if self.within not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def words(page):
    return " ".join(Parsed(page).text.split())


@pytest.fixture
def copy(audit, tmp_path):
    """The audit in a folder of its own, to be changed."""
    shutil.copytree(audit, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_page_is_one_file_that_asks_for_nothing(audit):
    parsed = Parsed(audit / "index.html")
    links = [attrs.get("src") or attrs.get("href") for _, attrs in parsed.tags]
    assert all(link.startswith(("data:", "#")) for link in links if link)
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    assert len(parsed.all("img")) == 6


def test_names_are_escaped(audit, monkeypatch):
    monkeypatch.setattr("iqattack.reporting.card_page.SHOWN", 8)
    parsed = Parsed(card_page(audit, read_card(audit)))
    assert "b" not in [tag for tag, _ in parsed.tags]
    assert all(attrs["src"].startswith("data:") for attrs in parsed.all("img"))
    assert len(parsed.all("script")) == 7
    assert '<b>bright</b> & "co"' in parsed.text
    assert parsed.text.count("\"double\" 'single' & </script><script>alert(2)</script>.png") == 1
    assert parsed.text.count("<img src=x onerror=alert(1)>.png") == 1
    named = [attrs["aria-label"] for attrs in parsed.all("input") if attrs["type"] == "range"]
    assert any(name.startswith("\"double\" 'single' & </script>") for name in named)


def test_data_cannot_end_its_element():
    text = _data({"name": "</script><script>alert(1)</script><!--"})
    assert "<" not in text and ">" not in text
    assert json.loads(text) == {"name": "</script><script>alert(1)</script><!--"}


def test_a_script_that_would_end_its_element_is_refused(monkeypatch):
    monkeypatch.setattr("iqattack.reporting.rendering.asset", lambda name: b"'</script>'")
    with pytest.raises(ValueError, match="would end its own element"):
        inline("card.js")


def test_the_same_runs_give_the_same_bytes(audit, monkeypatch):
    first = (audit / "index.html").read_bytes()
    monkeypatch.chdir(audit.parent)
    assert iqattack.report(audit.name) == Path(audit.name, "index.html")
    assert (audit / "index.html").read_bytes() == first
    assert str(audit.parent).encode() not in first


def test_pictures_are_of_the_images_that_moved_most(audit):
    """Chosen again from results of all runs, and decoded from the page."""
    best: dict[str, tuple[float, Path, str]] = {}
    for record in read_card(audit).runs:
        run = iqattack.open_run(audit / record.folder)
        for row in run.results:
            if not row.failed and row.gain > (best[row.image][0] if row.image in best else 0.0):
                best[row.image] = row.gain, run.images / row.png_name, row.path
    first = sorted(best.values(), reverse=True)[:3]
    shown = [attrs["src"].partition(",")[2] for attrs in Parsed(audit / "index.html").all("img")]
    pairs = zip(shown[::2], shown[1::2], strict=True)
    for (_, attacked, clean), pair in zip(first, pairs, strict=True):
        for path, png in zip((Path(clean), attacked), pair, strict=True):
            expected = read_image(path).pixels.permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(b64decode(png)))), expected)


def test_concerns_come_before_the_pictures(audit, copy):
    assert "Read these figures with care" in words(audit / "index.html")  # one image is broken
    card = read_card(copy)
    runs = (card.runs[0].model_copy(update={"verified": False}), *card.runs[1:])
    page = card_page(copy, card.model_copy(update={"runs": runs}))
    assert page.index("Not as reported") < page.index("Largest changes")


def test_a_picture_that_is_missing_is_said_and_the_page_is_made(copy):
    before = words(write_card_page(copy))
    assert "cannot be shown" not in before
    for png in copy.glob("runs/*/adversarial/*.png"):
        png.unlink()
    after = words(write_card_page(copy))
    assert after.count("This picture cannot be shown.") == 3
    assert "no such image" in after


def test_a_run_that_is_missing_is_said_and_the_page_is_made(copy):
    folders = [record.folder for record in read_card(copy).runs]
    shutil.rmtree(copy / folders[0])
    text = words(write_card_page(copy))
    assert f"{folders[0]}: no such run" in text
    assert f"{folders[1]}:" not in text
    shutil.rmtree(copy / "runs")
    text = words(write_card_page(copy))
    assert "No score was moved in the runs that could be read." in text
    assert all(f"{folder}: no such run" in text for folder in folders)


def test_a_run_that_is_not_that_of_the_card_is_said_and_not_shown(copy):
    for record in read_card(copy).runs:
        path = copy / record.folder / "results.csv"
        path.write_text(path.read_text() + "\n")
    text = words(write_card_page(copy))
    assert text.count("results.csv is not the one from which the card was made") == 2
    assert "No score was moved" in text


@pytest.mark.parametrize("folder", ["../elsewhere", "runs/..", "runs/a/../../b", "/tmp", "runs/"])
def test_a_card_names_no_folder_but_its_own(tmp_path, folder):
    (found,) = runs_here(tmp_path, _cards["card"](runs=[_cards["run_record"](folder=folder)]))
    assert found.run is None
    assert "is not a folder beneath the card" in found.trouble


def test_a_link_is_no_run(copy, tmp_path):
    folder = read_card(copy).runs[0].folder
    (copy / folder).rename(tmp_path / "elsewhere")
    (copy / folder).symlink_to(tmp_path / "elsewhere")
    assert f"{folder}: is not a folder beneath the card" in words(write_card_page(copy))


def test_pages_of_runs_are_linked_where_there_are_some(copy):
    card = read_card(copy)
    assert Parsed(write_card_page(copy, card)).all("a") == [{"class": "skip", "href": "#main"}]
    iqattack.report(copy / card.runs[1].folder)
    links = [attrs["href"] for attrs in Parsed(write_card_page(copy, card)).all("a")]
    assert links == ["#main", f"{card.runs[1].folder}/report/index.html"]


def test_the_policy_in_the_folder_is_judged(copy):
    (copy / "policy.toml").write_text('[[rules]]\nmeasure = "gain"\nat_most = 0.0\n')
    assert "The policy does not hold. fails gain is at most 0" in words(write_card_page(copy))
    (copy / "policy.toml").write_text('[[rules]]\nmeasure = "gain"\nat_most = 1.0\n')
    assert "The policy holds. holds gain is at most 1" in words(write_card_page(copy))
    (copy / "policy.toml").write_text("[[")
    assert "policy.toml: policy policy.toml: is not TOML" in words(write_card_page(copy))


def test_large_pictures_are_made_smaller():
    pixels = torch.full((3, 10, 3 * LONGEST), 7, dtype=torch.uint8)
    small = smaller(pixels)
    assert small.shape == (3, 3, LONGEST)
    assert (small == 7).all()
    assert smaller(pixels[..., :LONGEST]).shape == (3, 10, LONGEST)


def test_a_moved_audit_of_the_sample_set_has_its_pictures(tmp_path, model):
    suite = {"name": "tiny", "version": 1, "about": "Tiny.", "budgets": [4]}
    attempts = [{"attack": "noise", "constraint": "linf:8"}]
    suite = Suite.model_validate(suite | {"attempts": attempts})
    iqattack.audit(model, out=tmp_path / "here", suite=suite, limit=3, verified=False)
    (tmp_path / "here").rename(tmp_path / "there")
    parsed = Parsed(write_card_page(tmp_path / "there"))
    assert len(parsed.all("img")) >= 4
    assert "cannot be shown" not in parsed.text
    assert "were not scored again" in re.sub(r"\s+", " ", parsed.text)


def test_report_tells_audits_from_runs(copy, tmp_path, capsys):
    run = copy / read_card(copy).runs[0].folder
    assert is_audit(copy) and not is_audit(run) and not is_audit(tmp_path)
    (copy / "index.html").unlink()
    assert main(["report", str(copy)]) == 0
    assert (copy / "index.html").is_file()
    assert "index.html" in capsys.readouterr().out
    for option in (["--out", "x"], ["--display", "standard_4k"], ["--distance", "1"]):
        assert main(["report", str(copy), *option]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and f"leave {option[0]} out" in error
    (copy / "card.json").unlink()
    with pytest.raises(RunError, match="has no card yet; continue it with"):
        iqattack.report(copy)
    (copy / "card.json").write_text("{}")
    with pytest.raises(InputError, match="is not a card"):
        iqattack.report(copy)


def test_figures_of_a_paper_stand_on_the_page_of_its_suite(tmp_path):
    suite = iqattack.auditing.read_suite("bychkov2025")
    figure = suite.published[1]
    assert (figure.model, figure.attack) == ("dbcnn", "square")
    lines = [
        _cards["line"](figure.constraint, figure.queries, 0.2, attack=figure.attack),
        _cards["line"](figure.constraint, figure.queries, 0.2),
    ]
    card = _cards["card"](*lines)
    assert "Published" not in card_page(tmp_path, card)
    record = card.suite.model_copy(update={"id": suite.id, "digest": suite.digest})
    page = Parsed(card_page(tmp_path, card.model_copy(update={"suite": record})))
    assert figure.source in page.text
    assert f"{figure.value:g}" in page.text
    other = record.model_copy(update={"digest": "0" * 64})
    assert "Published" not in card_page(tmp_path, card.model_copy(update={"suite": other}))
