"""The check of a card: everything that may have been tampered with is found, by its own name."""

import csv
import dataclasses
import hashlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import iqattack
from iqattack import auditing, plugins
from iqattack.attacks import ATTACKS
from iqattack.auditing import Card, Suite, checking, read_checks
from iqattack.auditing import replayed as replaying
from iqattack.auditing.from_runs import card_of as card_of_runs
from iqattack.cli import main
from iqattack.errors import InputError
from iqattack.evaluation import evaluate_scores
from iqattack.runs import Run
from iqattack.runs import verify as verify_run
from iqattack.runs.settings import versions_here
from iqattack.samples import write_samples

MODEL = """
import pathlib

pathlib.Path(__file__).with_name("loaded").write_text("")

def load():
    def score(images):
        exact = images.long().flatten(1)
        return (exact * exact).sum(1).double() / exact.shape[1] / {scale}

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
TOML = """
name = "mine"
version = 1
about = "Mine."
budgets = [3, 8]
attempts = [{attack = "noise", constraint = "linf:8"}, {attack = "square", constraint = "linf:8"}]
"""
FLAKY = """
def load():
    def score(images):
        if float(images.float().mean()) < 60:
            raise ValueError("too dark")
        return images.float().flatten(1).mean(1)

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
GROUP = "iqattack.defences"
NOISE, SQUARE = "runs/01-noise-linf-8", "runs/02-square-linf-8"


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        few = partial(evaluate_scores, resamples=20)
        for module in ("runs.summary", "auditing.from_runs"):
            patch.setattr(f"iqattack.{module}.evaluate_scores", few)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """photos/ of three images of 24×20 pixels, model.py, mine.toml, and the audit of it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(20 + 20 * k, 60 + 20 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{k:02d}.png")
    (folder / "model.py").write_text(MODEL.format(scale="255.0"))
    (folder / "mine.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml")
    (folder / "loaded").unlink()
    return folder


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """A copy of all that, where it is the working folder."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def sent(work, monkeypatch):
    """The audit as seen by another user, on a machine without the original files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(work / "state"))
    (work / "audit").rename(work / "sent")
    (work / "photos").rename(work / "clean")
    toml = next((work / "sent").glob("runs/01*/run.toml")).read_text()
    assert str(work) not in toml  # the copy names the folder that it was made in
    return work / "sent"


@pytest.fixture
def gone(made):
    """The folder that the audit was made in is not there."""
    away = made.with_name("away")
    made.rename(away)
    yield
    away.rename(made)


def check(folder="audit", model=None, **options):
    return iqattack.check_card(folder, model, **({"suite": "mine.toml"} | options))


def refuted(found):
    """What is refuted, as text, and that nothing else came of it."""
    assert (found.outcome, found.exit_status, found.level) == ("refuted", 1, "card")
    return "\n".join(map(str, found.of("refuted")))


def edit(path, change):
    data = json.loads(Path(path).read_text())
    change(data)
    Path(path).write_text(json.dumps(data))


# -- what holds -----------------------------------------------------------------------------------


def test_a_good_one_holds_by_its_files_and_runs_nothing(work):
    found = check()
    assert found.findings == ()
    assert (found.outcome, found.level, found.wanted) == ("holds", "files", "files")
    assert (found.images, found.scored, found.exit_status) == (6, 0, 0)
    assert not (work / "loaded").exists()


def test_a_good_one_holds_with_its_model(work):
    found = check(model="model.py:load")
    assert (found.outcome, found.level, found.scored) == ("holds", "model", 12)
    assert found.findings == ()


def test_a_sample_is_asked_about_and_named(work):
    found = check(model="model.py:load", sample=1)
    assert (found.outcome, found.level, found.scored) == ("holds", "model", 4)
    assert len(found.sampled) == 1
    assert check(model="model.py:load", sample=9).sampled is None  # that is all of them


def test_a_suite_that_is_not_here_is_known_by_its_digest(work):
    """The digest follows from what the runs were asked for, but for the words about it."""
    assert check(suite=None).level == "files"
    edit("audit/card.json", lambda card: card["suite"].update(digest="0" * 64))
    found = check(suite=None)
    assert "audit.toml: digest is" in refuted(found)
    text = Path("audit/audit.toml").read_text()
    attempts = [{"attack": "noise", "constraint": "linf:8"}]
    digest = Suite.model_validate(
        {"name": "mine", "version": 1, "about": "", "budgets": [3, 8], "attempts": attempts}
    ).digest
    edit("audit/card.json", lambda card: card["suite"].update(digest=digest))
    old = json.loads(Path("audit/card.json").read_text())["suite"]["digest"]
    Path("audit/audit.toml").write_text(
        "\n".join(f'digest = "{old}"' if x.startswith("digest") else x for x in text.splitlines())
    )
    found = check(suite=None)
    assert (found.outcome, found.level, found.exit_status) == ("not verified", "card", 2)
    assert any("give its file with --suite" in finding.what for finding in found.findings)
    assert "the versions differ" in refuted(check())


def test_what_was_sent_needs_its_clean_images(sent, gone):
    found = check(sent)
    assert found.outcome == "not verified"
    assert all(finding.state == "not verified" for finding in found.findings)
    assert any("give it with --images" in finding.what for finding in found.findings)
    found = check(sent, images="clean")
    assert (found.outcome, found.level, found.findings) == ("holds", "files", ())


def test_what_was_sent_is_scored_by_the_model_that_is_given(sent, gone):
    found = check(sent, "model.py:load", images="clean")
    assert (found.outcome, found.level, found.scored) == ("holds", "model", 12)


def test_paths_of_somebody_elses_run_are_not_read(sent, made):
    """They are there, and yet not looked at: the run is not this user's."""
    assert (made / "photos").is_dir()
    assert check(sent).outcome == "not verified"


def test_a_card_alone_is_not_verified(work):
    shutil.copy("audit/card.json", "alone.json")
    for entry in ("alone.json", "audit"):
        shutil.rmtree("audit/runs", ignore_errors=True)
        found = check(entry)
        assert (found.outcome, found.level, found.exit_status) == ("not verified", "card", 2)
        assert not found.of("refuted")


def test_the_sample_set_is_made_here(tmp_path, monkeypatch):
    """An audit of it needs no images from anybody, and other pictures in its place are found."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL.format(scale="255.0"))
    Path("mine.toml").write_text(TOML + "limit = 2\n")
    iqattack.audit("model.py:load", out="audit", suite="mine.toml")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.rmtree("audit/images")
    found = check()
    assert (found.outcome, list(map(str, found.findings))) == ("holds", [])
    write_samples(Path("other"))
    for path in list(Path("other").glob("*.png"))[:24]:
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    shutil.rmtree("audit")
    iqattack.audit("model.py:load", "other", out="audit", suite="mine.toml", mos="other/mos.csv")
    kept = [x for x in Path("audit/audit.toml").read_text().splitlines() if "images" not in x]
    Path("audit/audit.toml").write_text("\n".join(kept))
    shutil.copytree("other", "audit/images")
    assert "is not the picture of the sample set" in refuted(check())


# -- what is tampered with ------------------------------------------------------------------------


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from leaves(part, (*path, number))
    else:
        yield path, value


def put(data, path, value):
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


@pytest.fixture
def quickly(made):
    """Checks a card with other contents: what is not the card's is checked once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        rebuilt, seen, played, summaries = [], {}, {}, {}

        def verify(run, scorer, **options):
            if run.folder not in seen:
                seen[run.folder] = verify_run(run, scorer, **options)
            return seen[run.folder]

        def card_of(suite, done, **options):
            if not rebuilt:
                rebuilt.append(card_of_runs(suite, done, **options))
            return rebuilt[0]

        def replayed(run, find, attack, *rest):
            key = run.folder, attack
            if key not in played:
                played[key] = list(replayed_search(run, find, attack, *rest))
            return played[key]

        def summary_of(run, *args, **options):
            if run.folder not in summaries:
                summaries[run.folder] = run_summary_of(run, *args, **options)
            return summaries[run.folder]

        replayed_search, run_summary_of = replaying.replayed, Run.summary_of
        patch.setattr(checking, "verify", verify)
        patch.setattr(checking, "card_of", card_of)
        patch.setattr(checking, "replayed", replayed)
        patch.setattr(Run, "summary_of", summary_of)
        file = made / "audit" / "card.json"
        whole = file.read_text()

        def of(data):
            file.write_text(json.dumps(data))
            try:
                return check(made / "audit", suite=str(made / "mine.toml"))
            finally:
                file.write_text(whole)

        assert of(json.loads(whole)).findings == ()
        yield of


def test_every_number_of_a_card_is_checked(made, quickly):
    """Each changed by a ten-thousandth, or by one: all are found, by their place."""
    whole = json.loads((made / "audit" / "card.json").read_text())
    numbers = [(path, value) for path, value in leaves(whole)
               if isinstance(value, int | float) and not isinstance(value, bool)]  # fmt: skip
    assert len(numbers) > 100
    for path, value in numbers:
        if path == ("format",):
            continue
        data = json.loads(json.dumps(whole))
        put(data, path, value + 1 if isinstance(value, int) else value * 1.0001 + 1e-9)
        found = quickly(data)
        listed = isinstance(path[-1], int) or "fresh" in path  # which is refuted as a whole
        assert str(path[-2] if listed else path[-1]) in refuted(found), path


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_changed_leaf_is_found(made, quickly, data):
    whole = json.loads((made / "audit" / "card.json").read_text())
    places = [(path, value) for path, value in leaves(whole) if path != ("format",)]
    path, value = data.draw(st.sampled_from(places))
    if isinstance(value, str):
        other = data.draw(st.sampled_from([value + "x", "", value.swapcase() + "1"]))
    elif isinstance(value, bool) or value is None:
        other = data.draw(st.sampled_from([x for x in (True, False, None) if x is not value]))
    elif isinstance(value, int):
        other = value + data.draw(st.integers(-5, 5).filter(bool))
    else:
        least = 1e-6 * abs(value) + 1e-9
        other = data.draw(st.floats(-10, 10).filter(lambda x: abs(x - value) > least))
    changed = json.loads(json.dumps(whole))
    put(changed, path, other)
    try:
        Card.model_validate_json(json.dumps(changed))
    except ValueError:
        with pytest.raises(InputError, match="is not a card"):
            quickly(changed)
        return
    found = quickly(changed)
    assert found.outcome != "holds", (path, value, other)
    assert found.findings


def test_lines_that_are_taken_out_or_put_in(made, quickly):
    whole = json.loads((made / "audit" / "card.json").read_text())
    for name in ("lines", "seen", "runs"):
        less = json.loads(json.dumps(whole))
        less[name].pop()
        assert name in refuted(quickly(less))
        more = json.loads(json.dumps(whole))
        more[name].append(more[name][0])
        assert name in refuted(quickly(more))


def test_a_swapped_picture(work):
    one, other = (f"audit/{NOISE}/adversarial/0{k}.png" for k in (0, 1))
    shutil.copy(other, one)
    assert f"{NOISE}: 00.png: the attacked image is not among" in refuted(check())


def test_an_edited_picture(work):
    path = f"audit/{SQUARE}/adversarial/02.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert f"{SQUARE}: 02.png" in refuted(check())


def test_a_picture_that_is_gone_or_none(work):
    Path(f"audit/{SQUARE}/adversarial/02.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    Path(f"audit/{NOISE}/adversarial/00.png").unlink()
    text = refuted(check())
    assert f"{NOISE}: 00.png" in text
    assert f"{SQUARE}: 02.png" in text


def test_other_clean_images(work):
    pixels = np.array(Image.open("photos/01.png"))
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save("photos/01.png")
    assert "the clean image's SHA-256 is" in refuted(check(images="photos"))


LOGS = {
    "a score": "UPDATE chunk SET rows = zeroblob(length(rows)) WHERE task = 1",
    "fewer queries": "DELETE FROM chunk WHERE task = 2",
    "a result": "UPDATE result SET json = replace(json, '\"gain\":0.', '\"gain\":0.1')",
    "a result less": "DELETE FROM result WHERE task = 2",
    "a direction": "UPDATE direction SET direction = 'down'",
}


@pytest.mark.parametrize("what", LOGS)
def test_a_changed_log(work, what):
    with closing(sqlite3.connect(f"audit/{SQUARE}/log.sqlite")) as log:
        tables = [row[0] for row in log.execute("SELECT name FROM sqlite_master")]
        statement = LOGS[what]
        if "direction SET" in statement and "direction" not in tables:
            statement = (
                "UPDATE task SET direction = CASE direction WHEN 'up' THEN 'down' ELSE 'up' END"
            )
        assert log.execute(statement).rowcount > 0
        log.commit()
    assert SQUARE in refuted(check())


def test_a_log_that_is_gone_or_none(work):
    Path(f"audit/{SQUARE}/log.sqlite").unlink()
    Path(f"audit/{NOISE}/log.sqlite").write_bytes(b"not a log" * 1000)
    text = refuted(check())
    assert SQUARE in text
    assert NOISE in text


def test_an_edited_table(work):
    path = Path(f"audit/{SQUARE}/results.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1]["gain"] = "0.0001"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    text = refuted(check())
    assert "gain is 0.0001 in results.csv" in text
    assert "card.json: runs[1].results" in text


def test_an_edited_summary(work):
    edit(f"audit/{SQUARE}/summary.json", lambda data: data["scores"].update(mean_gain=0.0))
    assert "summary.json: scores.mean_gain" in refuted(check())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("budget", "queries = 8", "queries = 9"),
        ("constraint", 'constraint = "linf:8"', 'constraint = "linf:3"'),
        ("attack", 'attack = "square"', 'attack = "noise"'),
        ("objective", 'objective = "rank"', 'objective = "up"'),
        ("seed", "seed = 0", "seed = 1"),
        ("floor", "seed = 0", 'seed = 0\nfloor = "ssim:0.5"'),
    ],
)
def test_settings_that_are_not_the_suites(work, name, old, new):
    path = Path(f"audit/{SQUARE}/run.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert f"{SQUARE}: {name} is" in refuted(check(images="photos"))
    if name not in ("objective", "floor"):  # which no card has
        assert f"{SQUARE}: {name} is" in refuted(check(images="photos", suite=None))


def test_a_run_with_another_budget(work):
    """A whole and sound one, put where that of the suite was."""
    shutil.rmtree(f"audit/{SQUARE}")
    run = iqattack.attack("photos", "model.py:load", out=f"audit/{SQUARE}", attack="square",
                          constraint="linf:8", queries=20)  # fmt: skip
    iqattack.evaluate(run)
    assert f"{SQUARE}: budget is 20, but 8 in mine-v1" in refuted(check())


def test_another_version_of_the_suite(work):
    Path("mine.toml").write_text(TOML.replace("[3, 8]", "[4, 8]"))
    assert "the versions differ" in refuted(check())


def test_a_published_suite_that_was_changed(work):
    edit("audit/card.json", lambda card: card["suite"].update(id="quick-v1"))
    text = refuted(check(suite=None))
    assert "card.json: suite quick-v1 has the digest" in text
    edit("audit/card.json", lambda card: card["suite"].update(id="quick-v99"))
    assert any("quick-v99 is not in iqattack" in f.what for f in check(suite=None).findings)


def test_runs_that_are_missing_or_more(work):
    shutil.copytree(f"audit/{NOISE}", "audit/runs/03-noise-linf-8")
    shutil.rmtree(f"audit/{SQUARE}")
    for suite in ("mine.toml", None):
        text = refuted(check(suite=suite))
        assert f"{SQUARE}: is missing" in text
        assert "runs/03-noise-linf-8: is not a run of the suite" in text


def test_a_run_of_another_model(work):
    Path("other.py").write_text(MODEL.format(scale="256.0"))
    shutil.rmtree(f"audit/{SQUARE}")
    run = iqattack.attack("photos", "other.py:load", out=f"audit/{SQUARE}", attack="square",
                          constraint="linf:8", queries=8)  # fmt: skip
    iqattack.evaluate(run)
    assert f"{SQUARE}: model's name is other.py:load" in refuted(check())


def test_a_model_that_answers_otherwise(work):
    """Its file is as it was, and yet it answers otherwise."""
    card = Card.model_validate_json(Path("audit/card.json").read_text())

    def score(images):
        exact = images.long().flatten(1)
        return (exact * exact).sum(1).double() / exact.shape[1] / 255.0 + 0.01

    score.files = (Path("model.py"),)  # type: ignore[attr-defined]
    model = iqattack.wrap(score, name=card.model.name, score_range=(0.0, 255.0), lower_better=False)
    found = check(model=model, images="photos")
    assert "score is" in refuted(found)


def test_a_model_whose_file_has_changed_is_not_asked(work):
    Path("model.py").write_text(MODEL.format(scale="256.0"))
    found = check(model="model.py:load")
    assert (found.outcome, found.level, found.exit_status) == ("not verified", "files", 2)
    assert [f.where for f in found.findings] == ["model"]
    assert "model.py differs from the file of the runs" in found.findings[0].what


def test_another_model_is_not_asked(work):
    found = check(model="builtin")
    assert (found.outcome, found.level, found.scored) == ("not verified", "files", 0)


# -- searches --------------------------------------------------------------------------------------


def wasting(task):
    """Spends its budget on one grey level."""
    yield (task.image + 1.0)[None]


def test_an_attack_that_wastes_its_budget(work, monkeypatch):
    """All that it wrote is consistent, and yet it is not the attack that it is called."""
    shutil.rmtree("audit")
    with monkeypatch.context() as patch:
        kind = dataclasses.replace(ATTACKS["square"], function=wasting)
        patch.setitem(ATTACKS, "square", kind)
        iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml")
        assert check().outcome == "holds"  # by that attack
    text = refuted(check())
    assert f"{SQUARE}: its search does not follow square: 00.png" in text
    assert NOISE not in text
    here = versions_here()
    for name, other in (("torch", "0.1"), ("platform", "Plan9 vax")):
        monkeypatch.setattr(replaying, "versions_here", lambda n=name, o=other: here | {n: o})
        found = check()
        assert (found.outcome, found.level) == ("not verified", "card")
        output = f"another {name} ({here[name]} there, {other} here)"
        assert all(output in finding.what for finding in found.findings)
    assert check("audit", "model.py:load").level == "card"


def reordered(folder):
    """The queries of every log, the weakest first, with digests that fit."""
    row = np.dtype([("hash", "<u8"), ("score", "<f8")])
    queries = total = 0
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        for task, name, way in log.execute("SELECT id, image, direction FROM task").fetchall():
            chunks = log.execute("SELECT rows FROM chunk WHERE task = ? ORDER BY first", (task,))
            rows = np.frombuffer(b"".join(chunk for (chunk,) in chunks), row)
            gains = (1 if way == "up" else -1) * (rows["score"] - rows["score"][0])
            first = int((rows["hash"] == rows["hash"][0]).sum())
            rows = rows[[*range(first), *(first + np.argsort(gains[first:], kind="stable"))]]
            digest = hashlib.blake2b(name.encode() + rows.tobytes(), digest_size=16).digest()
            log.execute("DELETE FROM chunk WHERE task = ?", (task,))
            log.execute("INSERT INTO chunk VALUES (?, 0, ?, ?)", (task, digest, rows.tobytes()))
            queries, total = queries + len(rows), total + int.from_bytes(digest, "big")
        log.commit()
    (folder / "log.end").write_text(f"{queries:020d} {total % 2**128:032x}\n")


def test_a_log_in_another_order(work):
    """It makes smaller budgets look weaker."""
    for folder in (NOISE, SQUARE):
        reordered(Path("audit", folder))
    text = refuted(check())
    assert "its search does not follow" in text


def test_foreign_attacks_are_not_replayed(work):
    Path("mine.py").write_text("def attack(task):\n    yield (task.image + 1.0)[None]\n")
    Path("mine.toml").write_text(TOML.replace('"square"', '"mine.py:attack"'))
    iqattack.audit("model.py:load", "photos", out="own", suite="mine.toml")
    found = check("own")
    assert (found.outcome, found.level) == ("not verified", "card")
    (finding,) = found.findings
    assert "foreign code is not loaded" in finding.what


# -- settings, names and numbers -------------------------------------------------------------------


def audited(**options):
    shutil.rmtree("audit")
    iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml", **options)


def test_the_models_settings_are_the_checkers(work):
    audited(input="size=8x8")
    found = check(model="model.py:load")
    assert (found.outcome, found.level, found.scored) == ("not verified", "files", 0)
    (what,) = [f.what for f in found.of("not verified")]
    assert what == "the runs were made with input size=8; give --input size=8"
    found = check(model="model.py:load", input="size=8x8")
    assert (found.outcome, found.level) == ("holds", "model")
    assert [f.what for f in found.of("note")] == [
        "was run with input size=8, which is not a setting of the suite"
    ]


def test_a_range_that_was_given_bars_a_rank(work):
    audited(score_range=(-1000.0, 1000.0))
    for path in Path("audit").glob("runs/*/run.toml"):
        path.write_text(path.read_text().replace("check = true", "check = false"))
    found = check(images="photos")
    notes = {finding.what: finding.unranked for finding in found.of("note")}
    assert notes == {
        "was not checked before the attacks (check = false)": False,
        "its score range, -1000 to 1000, was given by whoever ran the audit": True,
    }


def test_a_summary_that_is_missing(work):
    Path(f"audit/{SQUARE}/summary.json").unlink()
    found = check()
    assert (found.outcome, found.level) == ("not verified", "card")
    assert [f.where for f in found.findings] == [SQUARE]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("defended(jpeg:75):builtin", "builtin"),
        ("builtin", "builtin, defended by jpeg:75"),
        ("defended(jpeg:75):builtin", "builtin, defended by jpeg:50"),
        ("model.py:load", "pyiqa:topiq_nr"),
        ("pyiqa:niqe", "pyiqa:topiq_nr"),
    ],
)
def test_a_name_that_its_spec_does_not_give(work, model, name):
    for path in Path("audit").glob("runs/*/run.toml"):
        lines = path.read_text().splitlines()
        lines = [f'model = "{model}"' if x.startswith("model = ") else x for x in lines]
        lines = [f'name = "{name}"' if x.startswith("name = ") else x for x in lines]
        path.write_text("\n".join(lines))
    edit("audit/card.json", lambda card: card["model"].update(name=name))
    assert f"model is called {name}" in refuted(check(images="photos"))


def test_a_tolerance_above_the_default_verifies_no_model(work):
    found = check(model="model.py:load", tolerance=0.01)
    assert (found.outcome, found.level, found.tolerance) == ("not verified", "files", 0.01)
    assert any("leave out --tolerance" in finding.what for finding in found.findings)


def test_a_setting_that_there_is_not(work):
    """What is wrong in one submission is a finding, and no error."""
    path = Path(f"audit/{SQUARE}/run.toml")
    path.write_text(path.read_text().replace("queries = 8", 'queries = 8\ninput = "bogus"'))
    assert "bogus" in refuted(check())


def test_images_that_failed_bar_a_rank(work):
    Path("flaky.py").write_text(FLAKY)
    shutil.rmtree("audit")
    iqattack.audit("flaky.py:load", "photos", out="audit", suite="mine.toml")
    notes = [finding for finding in check().of("note") if finding.unranked]
    assert [finding.what for finding in notes] == ["2 of 3 images were not attacked"]


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (
            lambda card: card["lines"][0]["measures"]["gain"].update(value=float("nan")),
            "a number from",
        ),
        (lambda card: card["curves"][0].update(gain=[0.1]), "expected equal numbers"),
        (lambda card: card["lines"].append(card["lines"][0]), "is given twice"),
        (lambda card: card["images"].update(attacked=9), "expected ascending numbers"),
        (lambda card: card["model"].update(score_range=[1.0, 0.0]), "expected two finite numbers"),
    ],
)
def test_a_card_alone_that_cannot_be(work, change, output):
    shutil.rmtree("audit/runs")
    edit("audit/card.json", change)
    assert output in refuted(check())


def test_a_gain_beyond_the_range_is_open_without_runs(work):
    """As that of NIQE, whose scores leave its range; its own card holds nothing that is refuted."""
    shutil.rmtree("audit/runs")
    edit("audit/card.json", lambda card: card["lines"][0]["measures"]["gain"].update(value=1.5))
    edit("audit/card.json", lambda card: card["lines"][0]["measures"]["gain"].update(high=2.0))
    found = check()
    assert (found.outcome, found.exit_status, found.level) == ("not verified", 2, "card")
    assert "1.5 of the score range" in "\n".join(map(str, found.of("not verified")))


def test_an_object_brings_its_own_input_convention(work):
    """As an attack takes it; to give it again is refused there, and here."""
    scorer = iqattack.wrap(
        lambda images: images.mean((1, 2, 3)),
        name="mean",
        score_range=(0, 1),
        lower_better=False,
        input="float01",
    )
    iqattack.audit(scorer, "photos", out="object", suite="mine.toml")
    assert check("object", scorer).level == "model"
    with pytest.raises(InputError, match="is loaded already: give input to load_model or wrap"):
        check("object", scorer, input="float01")


def test_no_card_that_is_shipped_is_refuted_alone(tmp_path):
    cards = sorted(Path(auditing.__file__).with_name("reference").glob("*.json"))
    assert len(cards) >= 6
    for card in cards:
        assert iqattack.check_card(card).outcome == "not verified", card.name


def test_paths_in_findings_begin_in_the_submission(work):
    """However its folder is called, and wherever that name is found in a path."""
    Path("audit").rename("a")
    Path(f"a/{SQUARE}/run.toml").write_text("[")
    for folder in ("a", Path("a").absolute()):
        text = refuted(check(folder))
        assert f"{SQUARE}: " in text
        assert f"{work}/a" not in text
    checks = checking._Submission(Path("a"), None, None, {}, None, {}, None)
    assert checks._plain("/data/a/b.png: no a/b.png") == "/data/a/b.png: no b.png"


def test_what_is_no_card_says_why_in_a_line(work):
    edit("audit/card.json", lambda card: card["suite"].update(id="mine-v1 "))
    with pytest.raises(InputError, match=r"is not a card \(suite\.id: String should match"):
        check()


# -- what is hostile ------------------------------------------------------------------------------


def test_links_devices_and_odd_names_are_not_followed(work, tmp_path):
    outside = tmp_path / "secret.csv"
    outside.write_text("secret")
    for name in ("results.csv", "summary.json", "run.toml", "log.sqlite", "adversarial/00.png"):
        path = Path(f"audit/{SQUARE}") / name
        kept = path.read_bytes()
        path.unlink()
        path.symlink_to(outside)
        assert f"{SQUARE}/{name}: is a link" in refuted(check())
        path.unlink()
        path.write_bytes(kept)
    assert check().outcome == "holds"
    Path(f"audit/{SQUARE}").rename(tmp_path / "run")
    Path(f"audit/{SQUARE}").symlink_to(tmp_path / "run")
    assert f"{SQUARE}: is a link" in refuted(check())


def test_nothing_that_a_submission_names_is_imported(work, monkeypatch):
    """Neither its model nor an attack, though both are there, and whoever began the run."""
    marker = work / "ran"
    (work / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    for spec in ("evil.py:load", "evil:load"):
        for old in ('model = "', 'attack = "'):
            shutil.rmtree("again", ignore_errors=True)
            shutil.copytree("audit", "again")
            for folder in (NOISE, SQUARE):
                path = Path("again", folder, "run.toml")
                lines = path.read_text().splitlines()
                lines = [f'{old}{spec}"' if x.startswith(old) else x for x in lines]
                path.write_text("\n".join(lines))
            if "attack" in old:
                edit(
                    "again/card.json",
                    lambda card, spec=spec: [run.update(attack=spec) for run in card["runs"]],
                )
            for suite in ("mine.toml", None):
                check("again", images="photos", suite=suite)
                check("again", "builtin", images="photos", suite=suite)
    assert not marker.exists()
    assert not (work / "loaded").exists()


def test_a_defence_of_ones_own_is_checked_and_not_loaded_for_it(work):
    """It is loaded where whoever checks gives it, and only then."""
    defence = Path("own.py")
    defence.write_text(
        "from pathlib import Path\n"
        "Path(__file__).with_name('defended').touch()\n"
        "def halved(pixels, by: int = 2):\n    return pixels // by * by\n"
    )
    iqattack.audit(
        "model.py:load", "photos", out="own", suite="mine.toml", defence="own.py:halved:by=4"
    )
    for marker in ("loaded", "defended"):
        Path(marker).unlink()
    found = check("own")
    assert (found.outcome, found.level, found.findings) == ("holds", "files", ())
    assert check("own", suite=None).outcome != "refuted"
    assert not Path("loaded").exists()
    assert not Path("defended").exists()
    found = check("own", "model.py:load", defence="own.py:halved:by=4")
    assert (found.outcome, found.level) == ("holds", "model")
    assert Path("defended").exists()
    other = check("own", "model.py:load", defence="own.py:halved:by=64")
    assert other.outcome == "not verified"
    assert any("own.py:halved:by=64" in finding.what for finding in other.findings)
    for folder in (NOISE, SQUARE):
        path = Path("own", folder, "run.toml")
        path.write_text(path.read_text().replace("own.py:halved:by=4", "own.py:halved:by=5", 1))
    assert "is defended by own.py:halved:by=5" in refuted(check("own"))


@pytest.mark.parametrize(
    "spec",
    ["defended(evil.py:f):builtin", "defended(jpeg:75+evil.py:f:x=1):builtin",
     "defended(a.evil:f):builtin", "defended(their-defence):defended(evil.py:f):builtin"],
)  # fmt: skip
def test_no_defence_that_a_submission_names_is_imported(work, monkeypatch, spec):
    marker = work / "marker"
    (work / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    (work / "a").mkdir()
    (work / "a" / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(work))
    monkeypatch.setattr(
        plugins, "entry_points",
        lambda group: [EntryPoint("their-defence", "evil:f", group)] * (group == GROUP),
    )  # fmt: skip
    defended = spec.removeprefix("defended(").partition("):")[0]
    for folder in (NOISE, SQUARE):
        path = Path("audit", folder, "run.toml")
        lines = path.read_text().splitlines()
        lines = [f'model = "{spec}"' if x.startswith('model = "') else x for x in lines]
        named = [f'name = "builtin, defended by {defended}"' if x.startswith("name = ") else x
                 for x in lines]  # fmt: skip
        path.write_text("\n".join(named))
    for suite in ("mine.toml", None):
        assert check(images="photos", suite=suite).outcome != "holds"
        check("audit", "builtin", images="photos", suite=suite)
    assert not marker.exists()
    assert not (work / "loaded").exists()


def test_a_log_without_its_end_is_not_verified(work):
    Path(f"audit/{SQUARE}/log.end").unlink()
    found = check()
    assert (found.outcome, found.level) == ("not verified", "card")
    assert any("log.end is missing" in finding.what for finding in found.findings)


def test_files_that_are_too_large(work):
    with Path(f"audit/{SQUARE}/summary.json").open("r+b") as file:
        file.truncate(2**28 + 1)
    assert "summary.json: has 268,435,457 bytes" in refuted(check())


def test_folders_on_the_card_lead_nowhere(work, made):
    edit("audit/card.json", lambda card: card["runs"][0].update(folder="runs/../../../etc"))
    for suite in ("mine.toml", None):
        assert "card.json" in refuted(check(suite=suite)) or suite is None
        assert check(suite=suite).outcome == "refuted"


@pytest.mark.parametrize("text", ["", "[", "{}", "[" * 100_000, '{"format": 2}', "\0"])
def test_what_is_no_card(work, text):
    Path("audit/card.json").write_text(text)
    with pytest.raises(InputError, match="is not a card"):
        check()


def test_what_is_no_submission(work):
    for name in ("nowhere", "photos", "photos/00.png"):
        with pytest.raises(InputError, match="is not a card"):
            check(name)


# -- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_came_of_it(work, capsys):
    asked = ["check", "audit", "--suite", "mine.toml", "--json", "check.json"]
    assert main(asked) == 0
    assert "audit: holds (files)" in capsys.readouterr().out
    assert [found.level for found in read_checks("check.json")] == ["files"]
    assert main([*asked, "--model", "model.py:load", "--sample", "2"]) == 0
    assert "holds (model)" in capsys.readouterr().out
    assert read_checks("check.json")[0].scored == 8
    assert main([*asked, "--model", "builtin"]) == 2
    Path(f"audit/{NOISE}/adversarial/00.png").unlink()
    assert main(asked) == 1
    assert "audit: refuted" in capsys.readouterr().out
    write = ["--suite", "mine.toml", "--json", "check.json"]
    assert main(["check", "nowhere", "audit", *write]) == 1  # the others are checked all the same
    output = capsys.readouterr()
    assert "error: nowhere: is not a card" in output.err
    assert "audit: refuted" in output.out
    assert len(read_checks("check.json")) == 1
    assert main(["check", "nowhere", *write]) == 2
    assert main(["check", "audit", "--json", "none/check.json", "--suite", "mine.toml"]) == 2
    output = capsys.readouterr()
    assert "error: --json none/check.json" in output.err
    assert output.out == ""
    assert main(["check", "audit", "--sample", "2"]) == 2
    assert "add --model, or leave it out" in capsys.readouterr().err
    Path("check.json").write_text("{}")
    with pytest.raises(InputError, match="has no checks"):
        read_checks("check.json")


def test_a_card_without_runs_is_not_verified(work):
    """Whoever copies another card's suite and images, and brings no run."""
    card = json.loads((work / "audit" / "card.json").read_text())
    ghost = work / "ghost"
    (ghost / "runs").mkdir(parents=True)
    shutil.copyfile(work / "audit" / "audit.toml", ghost / "audit.toml")
    card["runs"], card["model"]["name"] = [], "ghost"
    (ghost / "card.json").write_text(json.dumps(card))
    found = check("ghost", suite=None)
    assert (found.outcome, found.level) == ("not verified", "card")
    assert "has no runs" in str(found.of("not verified")[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lines": []}, "lines: there are none"),
        ({"images": {"count": 10**4299, "attacked": -(10**4299)}}, "with too many digits"),
        (
            {
                "seen": [
                    {
                        "attack": "noise",
                        "constraint": "linf:3",
                        "seed": 10**4299,
                        "jod": None,
                        "jod_least": None,
                        "ssim": None,
                    }
                ]
            },
            "seen.0.seed with too many digits",
        ),
    ],
)
@pytest.mark.parametrize("suite", ["mine.toml", None])
def test_a_card_that_no_audit_writes_is_refuted_and_stops_nothing(work, changes, said, suite):
    path = work / "audit" / "card.json"
    card = json.loads(path.read_text())
    for name, value in changes.items():
        card[name] = {**card[name], **value} if isinstance(value, dict) else value
    sys.set_int_max_str_digits(0)  # to write it
    try:
        path.write_text(json.dumps(card))
    finally:
        sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    assert said in refuted(check(suite=suite))
