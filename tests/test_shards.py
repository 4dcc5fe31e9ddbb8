"""Shards: parts of a set that machines attack without knowing of each other, and their merging."""

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

import iqattack
from iqattack.cli import main
from iqattack.cli.app import app
from iqattack.cli.survey import ITS_OWN
from iqattack.errors import InputError, RunError
from iqattack.evaluation import evaluate_scores
from iqattack.images import ImageEntry, ImageSet, read_image, write_png
from iqattack.models import wrap
from iqattack.runs.files import FolderLock
from iqattack.runs.owner import is_own
from iqattack.runs.shards import Shard

IMAGES, QUERIES, SHARDS = 7, 24, 3
FOLDERS = ["1", "2", "3"]


def mean(images):
    return images.double().mean((1, 2, 3))


def model(function=mean, **options):
    given: dict[str, Any] = {"name": "m", "score_range": (0, 255), "lower_better": False}
    return wrap(function, **given | options)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals take longer than everything else here, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven images; the fourth is the first with the size of an earlier one."""
    folder = tmp_path_factory.mktemp("set") / "photos"
    folder.mkdir()
    chance = torch.Generator().manual_seed(0)
    for k in range(IMAGES):
        low, high = 30 + 17 * (k * 3 % IMAGES), 90 + 20 * (k * 3 % IMAGES)
        size = (3, 16 + k % 3, 20)
        write_png(folder / f"{k}.png", torch.randint(low, high, size, generator=chance).byte())
    return folder


def attack(photos, out, scorer=None, **options):
    given = {"attack": "square", "constraint": "linf:3", "queries": QUERIES, "out": out}
    return iqattack.attack(photos, scorer or model(), **given | options)


@pytest.fixture(scope="module")
def sharded(photos, tmp_path_factory):
    """The survey of the set, its three shards, and what each of the models was asked."""
    work = tmp_path_factory.mktemp("sharded")
    asked = []

    def counting(images):
        asked.append(len(images))
        return mean(images)

    counts: dict[str | int, int] = {}
    with pytest.MonkeyPatch.context() as patched:
        few = partial(evaluate_scores, resamples=20)
        patched.setattr("iqattack.runs.summary.evaluate_scores", few)
        iqattack.survey(photos, model(counting), out=work / "survey.json")
        counts["survey"] = sum(asked)
        for k in range(1, SHARDS + 1):
            asked.clear()
            attack(
                photos,
                work / str(k),
                model(counting),
                shard=f"{k}/{SHARDS}",
                survey=work / "survey.json",
            )
            counts[k] = sum(asked)
    return work, counts


@pytest.fixture
def shards(sharded, tmp_path):
    """A copy of the shards that may be changed."""
    for name in FOLDERS:
        shutil.copytree(sharded[0] / name, tmp_path / name)
    return [tmp_path / name for name in FOLDERS]


def logged(run):
    with run.open_log() as log:
        names = log.images()
        return (
            names,
            [log.rows(name).tolist() for name in names],
            log.directions(),
            log.results(),
            log.failures(),
            log.end(),
        )


def same_summary(run):
    values = json.loads((run.folder / "summary.json").read_text())
    for name in ("created", "session", "verdict"):
        del values[name]
    del values["check"]["queries"]  # each shard asked one image once more
    return values


def assert_same(run, single):
    assert logged(run) == logged(single)
    pictures = {path.name: path.read_bytes() for path in run.images.iterdir()}
    assert pictures == {path.name: path.read_bytes() for path in single.images.iterdir()}
    table = (run.folder / "results.csv").read_bytes()
    assert table == (single.folder / "results.csv").read_bytes()
    assert same_summary(run) == same_summary(single)


def images_of(count):
    return ImageSet(tuple(ImageEntry(f"{k}.png", Path(f"{k}.png")) for k in range(count)))


@given(st.integers(1, 60), st.integers(1, 60))
def test_shards_partition_a_set_into_parts_of_a_size(images, of):
    whole = images_of(images)
    if of > images:
        with pytest.raises(InputError, match=f"{images} images make at most {images} shards"):
            Shard(1, of).part(whole)
        return
    parts = [Shard(k, of).part(whole) for k in range(1, of + 1)]
    assert sorted(e.name for part in parts for e in part) == sorted(e.name for e in whole)
    sizes = [len(part) for part in parts]
    assert sizes == [Shard(k, of).size(images) for k in range(1, of + 1)]
    assert max(sizes) - min(sizes) <= 1
    for k, entry in enumerate(whole):
        assert parts[k % of][k // of] is entry


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/2/3", "-1/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="expected K/N"):
        Shard.parse(text)


@pytest.mark.parametrize("given", [{}, {"survey": True}])
def test_merged_shards_are_the_run_of_a_single_process(photos, sharded, tmp_path, given):
    work, _ = sharded
    options = {"survey": work / "survey.json"} if given else {}
    single = attack(photos, tmp_path / "single", **options)
    run = iqattack.merge(*(work / name for name in reversed(FOLDERS)), out=tmp_path / "merged")
    assert_same(run, single)
    assert is_own(run.folder / "run.toml")
    verified = iqattack.verify(run, model())
    assert verified.ok
    assert not verified.notes
    assert iqattack.evaluate(run).scores == iqattack.evaluate(single).scores
    assert iqattack.compare(run, single).rows[1].difference.value == 0.0
    assert iqattack.report(run).is_file()


def test_nothing_is_asked_twice_but_one_image_by_each_shard(sharded):
    work, counts = sharded
    # The check asks two images four times; each shard then one of them, to compare machines.
    assert counts["survey"] == IMAGES + 8
    spent = [iqattack.open_run(work / name).summary().queries for name in FOLDERS]
    assert sum(counts.values()) == sum(spent) + SHARDS
    assert sum(spent) == IMAGES * QUERIES


def test_a_shard_can_be_verified_and_evaluated_by_itself(sharded):
    work, _ = sharded
    for name in FOLDERS:
        verified = iqattack.verify(work / name, model())
        assert verified.ok
        assert any("all shards" in note for note in verified.notes)
        check = iqattack.open_run(work / name).check
        assert (check.noise, check.batch, check.drift, check.unpaired) == (0, 0, 0, False)
        assert len(check.images) == 2


def test_a_shard_on_a_machine_with_another_model_says_so(photos, sharded, tmp_path):
    said = []
    attack(
        photos,
        tmp_path / "run",
        model(lambda images: mean(images) + 5),
        shard="3/3",  # which has neither image of the check
        survey=sharded[0] / "survey.json",
        callbacks=iqattack.Callbacks(note=lambda image, text: said.append((image, text))),
    )
    assert any(image == "model" and "scores drift" in text for image, text in said)


def test_shards_without_a_survey(photos, tmp_path):
    with pytest.raises(InputError, match=r"with objective rank, .*'iqattack survey'.*--survey"):
        attack(photos, tmp_path / "run", shard="1/2")
    with pytest.raises(InputError, match=r"objective rank:0.1, the direction"):
        attack(photos, tmp_path / "run", shard="1/2", objective="rank:0.1")
    assert not (tmp_path / "run").exists()
    said = []
    noting = iqattack.Callbacks(note=lambda *note: said.append(note))
    for k in (1, 2):
        attack(
            photos, tmp_path / f"{k}", shard=f"{k}/2", objective="up", mos=None, callbacks=noting
        )
    assert sum("not checked: the check needs" in text for _, text in said) == 2
    run = iqattack.merge(tmp_path / "1", tmp_path / "2", out=tmp_path / "merged")
    single = attack(photos, tmp_path / "single", objective="up", check=False)
    assert logged(run) == logged(single)


def test_images_that_fail_are_failures_of_the_whole(photos, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "2.png").write_bytes(b"no image")
    table = tmp_path / "mos.csv"
    table.write_text("image,mos\n" + "".join(f"{k}.png,{k}.5\n" for k in range(IMAGES)))
    survey = iqattack.survey(folder, model(), out=tmp_path / "survey.json")
    assert list(survey.failed) == ["2.png"]
    options = {"mos": table, "survey": tmp_path / "survey.json"}
    for k in (1, 2):
        attack(folder, tmp_path / f"{k}", shard=f"{k}/2", **options)
    run = iqattack.merge(tmp_path / "1", tmp_path / "2", out=tmp_path / "merged")
    single = attack(folder, tmp_path / "single", mos=table)
    assert_same(run, single)
    assert iqattack.verify(run, model()).failed == 1
    # Repaired, it has the direction that its score has beside those of the survey.
    shutil.copy(photos / "2.png", folder / "2.png")
    again = attack(folder, run.folder, mos=table, resume=True)
    assert again.summary().attacked == IMAGES
    assert iqattack.verify(again, model()).ok


def test_a_merge_with_failed_images_ends_as_their_attack_does(
    photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    Path("photos/2.png").write_bytes(b"no image")
    command = ["attack", "photos", "--model", "m.py:load", "--objective", "up", "--attack", "noise"]
    command += ["--constraint", "linf:3", "--queries", "4", "--no-check"]
    command += ["--score-range", "0,255", "--no-lower-better"]
    Path("m.py").write_text(
        "def load():\n    return lambda images: images.double().mean((1, 2, 3))\n"
    )
    whole = ["--out", "whole"], ["--shard", "1/2", "--out", "1"], ["--shard", "2/2", "--out", "2"]
    assert [main([*command, *more]) for more in whole] == [1, 1, 0]
    for args in (["merge", "1", "2", "--out", "all"], [*command, "--out", "all", "--resume"]):
        capsys.readouterr()
        assert main(args) == 1
        said = capsys.readouterr()
        assert "next: iqattack verify all" in said.out
        assert said.err.splitlines()[-1] == "1 image failed; see status in results.csv"


def test_the_command_after_a_survey_works(photos, tmp_path, monkeypatch, capsys):
    """It has all that the survey was given, but for what is its own."""
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(
        "def load():\n    return lambda images: images.double().mean((1, 2, 3)) - 1\n"
    )
    given = ["--model", "m.py:load", "--input", "float01", "--score-range=-1,1"]
    given += ["--no-lower-better", "--limit", "4", "--convert", "--resize", "19", "--batch", "2"]
    own = ["--out", "my survey.json", "--max-requests", "50"]
    assert main(["survey", str(photos), *given, *own]) == 0
    (line,) = [it for it in capsys.readouterr().out.splitlines() if it.startswith("next: ")]
    program, *args = shlex.split(line.removeprefix("next: "))
    assert program == "iqattack"
    assert args == [
        "attack", str(photos), "--model", "m.py:load", "--input", "float01", "--score-range",
        "-1,1", "--no-lower-better", "--limit", "4", "--convert", "--resize", "19", "--batch", "2",
        "--survey", "my survey.json", "--shard", "1/2", "--out", "shards/1",
    ]  # fmt: skip
    assert main([*args, "--queries", "20", "--attack", "noise", "--constraint", "linf:3"]) == 0


def test_an_attack_takes_all_that_a_survey_passes_on():
    commands = typer.main.get_group(app).commands
    known = {text for it in commands["attack"].params for text in (*it.opts, *it.secondary_opts)}
    passed = [it for it in commands["survey"].params if it.name not in ITS_OWN]
    assert {text for it in passed for text in (*it.opts, *it.secondary_opts)} <= known


def test_a_shard_whose_images_all_fail_is_merged(photos, tmp_path):
    folder, down = tmp_path / "photos", {"objective": "down", "check": False}
    shutil.copytree(photos, folder)
    for name in ("1.png", "4.png"):  # the second shard
        (folder / name).write_bytes(b"no image")
    iqattack.survey(folder, model(), out=tmp_path / "survey.json")
    for which, options in (("a", {"survey": tmp_path / "survey.json"}), ("b", down)):
        work = tmp_path / which
        for k in (1, 3):
            attack(folder, work / f"{k}", shard=f"{k}/3", **options)
        for resume in (False, True):
            with pytest.raises(InputError, match=r"1.png.*all 2 images of shard 2/3 failed"):
                attack(folder, work / "2", shard="2/3", resume=resume, **options)
        run = iqattack.merge(*(work / name for name in FOLDERS), out=work / "merged")
        single = attack(folder, work / "single", **(down if options is down else {}))
        assert logged(run) == logged(single)
        table = (run.folder / "results.csv").read_bytes()
        assert table == (single.folder / "results.csv").read_bytes()


def test_images_without_a_finite_score_are_asked_again_and_merged(photos, tmp_path):
    def sparing(images):  # the second shard of four
        scores = mean(images)
        scores[(scores - CLEAN[1]).abs() < 1e-9] = float("nan")
        scores[(scores - CLEAN[5]).abs() < 1e-9] = float("inf")
        return scores

    CLEAN = [float(mean(read_image(photos / f"{k}.png").pixels[None])) for k in range(IMAGES)]
    survey = iqattack.survey(photos, model(sparing), out=tmp_path / "survey.json")
    assert [*survey.failed] == ["1.png", "5.png"]
    assert survey.scores[1] is survey.scores[5] is None
    options = {"survey": tmp_path / "survey.json"}
    for k in (1, 3, 4):
        attack(photos, tmp_path / f"{k}", model(sparing), shard=f"{k}/4", **options)
    with pytest.raises(InputError, match=r"1.png.* score nan.*is kept for 'iqattack merge'"):
        attack(photos, tmp_path / "2", model(sparing), shard="2/4", **options)
    run = iqattack.merge(*(tmp_path / f"{k}" for k in range(1, 5)), out=tmp_path / "merged")
    # Notes tell nan and inf apart, as rows do; nan is no number that equals itself.
    single = attack(photos, tmp_path / "single", model(sparing))
    assert str(logged(run)) == str(logged(single))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"shard": "8/9"}, "7 images make at most 7 shards"),
        ({"shard": "1/2", "scorer": model(lambda images: 1 / 0)}, "division by zero"),
        ({"shard": "1/2", "scorer": model(lambda images: mean(images) * torch.nan)}, "nan"),
    ],
)
def test_a_shard_that_cannot_be_leaves_nothing(photos, tmp_path, options, why):
    with pytest.raises(InputError, match=why):
        attack(photos, tmp_path / "new" / "run", objective="up", check=False, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_ceiling_counts_what_a_shard_sends(photos, sharded, tmp_path):
    asked = []

    def counting(images):
        asked.extend(images)
        return mean(images)

    options = {"shard": "1/3", "survey": sharded[0] / "survey.json", "out": tmp_path / "run"}
    for most in (20, 31):  # of all sessions
        with pytest.raises(iqattack.api.CeilingReached, match=f"{most} images were sent"):
            attack(photos, scorer=model(counting), max_requests=most, resume=most > 20, **options)
        assert len(asked) == most
    others = [sharded[0] / name for name in ("2", "3")]
    merged = iqattack.merge(tmp_path / "run", *others, out=tmp_path / "merged")
    with merged.open_log() as log, iqattack.open_run(others[0]).open_log() as second:
        assert log.sent() == 31 + 2 * second.sent()


def test_an_unfinished_shard_is_gone_on_with_in_the_whole(photos, sharded, tmp_path):
    work, _ = sharded
    calls = []

    def stop():
        return len(calls) > 40

    def counting(images):
        calls.extend(images)
        return mean(images)

    options = {"survey": work / "survey.json", "batch": 1}
    with pytest.raises(iqattack.api.Interrupted):
        attack(
            photos,
            tmp_path / "2",
            model(counting),
            shard="2/3",
            callbacks=iqattack.Callbacks(stop=stop),
            **options,
        )
    said = []
    run = iqattack.merge(
        work / "1",
        tmp_path / "2",
        work / "3",
        out=tmp_path / "merged",
        callbacks=iqattack.Callbacks(note=lambda *note: said.append(note)),
    )
    pending = run.state()[1]
    assert pending
    assert f"{pending} of {IMAGES} are pending" in said[-1][1]
    assert iqattack.verify(run, model()).pending == pending
    calls.clear()
    attack(photos, run.folder, model(counting), resume=True)
    assert_same(run, attack(photos, tmp_path / "single"))


def test_a_merged_run_is_resumed_as_it_is(photos, sharded, tmp_path):
    work, _ = sharded
    run = iqattack.merge(*(work / name for name in FOLDERS), out=tmp_path / "merged")
    before = logged(run)

    def refuse(_images):
        raise AssertionError("asked")

    attack(photos, run.folder, model(refuse), resume=True)
    attack(photos, run.folder, model(refuse), resume=True, survey=work / "survey.json")
    assert logged(run) == before


# -- surveys ------------------------------------------------------------------------------------


def test_a_survey_of_something_else_is_refused(photos, sharded, tmp_path):
    survey = sharded[0] / "survey.json"
    refuse = partial(pytest.raises, InputError)
    run = partial(attack, photos, tmp_path / "run", survey=survey, shard="1/3")
    with refuse(match=r"--survey does not fit: resize is not given there, 19 here"):
        run(resize=19)
    with refuse(match=r"does not fit: model's score_range is .* there"):
        attack(photos, tmp_path / "run", model(score_range=(0, 300)), survey=survey, shard="1/3")
    with refuse(match=r"it has 7 images there, 5 here, such as 5.png"):
        run(limit=5)
    other = tmp_path / "photos"
    shutil.copytree(photos, other)
    write_png(other / "3.png", torch.zeros(3, 16, 20).byte())
    with refuse(match=r"3.png has different pixels here"):
        attack(other, tmp_path / "run", survey=survey, shard="1/3")
    attack(other, tmp_path / "second", survey=survey, shard="2/3")
    assert not (tmp_path / "run").exists()


def test_a_survey_of_other_model_files_is_refused(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (
        "def load():\n    f = lambda x: x.double().mean((1, 2, 3))\n"
        "    f.score_range, f.lower_better = (0, 255), False\n    return f\n"
    )
    Path("m.py").write_text(source)
    iqattack.survey(photos, "m.py:load", out="survey.json", check=False)
    Path("m.py").write_text(source + "# changed\n")
    with pytest.raises(InputError, match=r"model's file .*m.py has other contents here"):
        iqattack.attack(photos, "m.py:load", out="run", survey="survey.json", queries=20)


def with_check(survey, change, images=2):
    """A survey with other scores in its check."""
    known = zip(survey["images"][:images], survey["hashes"], survey["scores"], strict=False)
    others = {name: {"hash": h, "scores": [score]} for name, h, score in known}
    if images == 2:
        others = survey["check"]["others"]
    others = {name: asked | {"scores": change(asked["scores"])} for name, asked in others.items()}
    return json.dumps(survey | {"check": survey["check"] | {"images": [*others], "others": others}})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: "{", "is not a survey"),
        (lambda s: json.dumps(s | {"format": 2}), "format 2, expected 1"),
        (lambda s: json.dumps(s | {"scores": s["scores"][1:]}), "lists whose lengths differ"),
        (
            lambda s: json.dumps(s | {"images": ["0.png"] * IMAGES}),
            "with equal or unprintable names",
        ),
        (lambda s: json.dumps(s | {"hashes": ["?"] * IMAGES}), "pattern"),
        (lambda s: json.dumps(s | {"hashes": [None] * IMAGES}), "scores without pixels"),
        (lambda s: json.dumps(s | {"more": 1}), "more"),
        (lambda s: json.dumps(s | {"scores": [float("nan"), *s["scores"][1:]]}), "finite number"),
        (lambda s: json.dumps(s | {"failed": {"0.png": "?"}}), "failures of images with a score"),
        (lambda s: json.dumps(s | {"attempts": {"?": 1}}), "attempts for unknown images"),
        (lambda s: json.dumps(s | {"attempts": {"0.png": 2**60}}), "attempts.0.png"),
        (lambda s: with_check(s, lambda scores: scores * 100), "at most 5 items"),
        (lambda s: with_check(s, lambda _: []), "two different scores of .*, in its check"),
        (lambda s: with_check(s, lambda scores: [1.0, *scores[1:]]), "two different scores of"),
        (lambda s: with_check(s, list, images=3), "a check of 3 images, expected at most 2"),
    ],
)
def test_what_is_no_survey_is_refused(sharded, photos, tmp_path, change, why):
    values = json.loads((sharded[0] / "survey.json").read_text())
    (tmp_path / "survey.json").write_text(change(values))
    with pytest.raises(InputError, match=why):
        attack(photos, tmp_path / "run", survey=tmp_path / "survey.json")


def test_a_survey_is_gone_on_with(photos, sharded, tmp_path):
    path, asked = tmp_path / "survey.json", []

    def counting(images):
        asked.extend(images)
        return mean(images)

    stop = iqattack.Callbacks(stop=lambda: len(asked) >= 3)
    with pytest.raises(iqattack.api.Interrupted):
        iqattack.survey(photos, model(counting), out=path, batch=1, callbacks=stop)
    assert not path.exists()
    with pytest.raises(RunError, match="was already begun; continue with --resume"):
        iqattack.survey(photos, model(), out=path)
    with pytest.raises(RunError, match="other settings: resize"):
        iqattack.survey(photos, model(), out=path, resume=True, resize=18)
    again = iqattack.survey(photos, model(counting), out=path, resume=True)
    assert len(asked) == IMAGES + 8
    first = iqattack.api.Survey.read(sharded[0] / "survey.json")[0]
    assert (again.images, again.scores, again.hashes) == (first.images, first.scores, first.hashes)
    assert again.check.others == first.check.others
    assert sorted(p.name for p in tmp_path.iterdir()) == ["survey.json"]
    with pytest.raises(RunError, match="exists; use another --out"):
        iqattack.survey(photos, model(), out=path)


@pytest.mark.parametrize("name", ["s.sqlite", "s.lock", "s.end", "s.json"])
def test_a_survey_may_have_any_name(photos, tmp_path, name, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    others = {f"{name}.lock", "s.lock", "s.sqlite", "s.end", "s.txt"} - {name}
    for other in others:
        Path(other).write_text("somebody's")
    Path("m.py").write_text(textwrap.dedent(SLOW))
    assert main(["survey", str(photos), "--model", "m.py:load", "--out", name]) == 0
    assert "7 of 7 images" in capsys.readouterr().out
    assert len(iqattack.api.Survey.read(Path(name))[0].known) == IMAGES
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {name, "m.py"} | others


def test_what_lies_beside_a_survey_is_not_overwritten(photos, tmp_path):
    (tmp_path / "s.json.end").write_text("somebody's")
    with pytest.raises(RunError, match="has the name of a file that the survey needs"):
        iqattack.survey(photos, model(), out=tmp_path / "s.json")
    assert [path.name for path in tmp_path.iterdir()] == ["s.json.end"]


def test_a_survey_that_is_done_is_left_as_it_is(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(textwrap.dedent(SLOW))
    killed = """
        import os, sys
        import iqattack.runs.surveying as surveying
        from iqattack.cli import main

        def write_text(path, text):
            path.write_text(text)
            os._exit(9)

        surveying.write_text = write_text
        main(sys.argv[1:])
    """
    given = ["survey", str(photos), "--model", "m.py:load", "--out", "s.json", "--resume"]
    program = [sys.executable, "-c", textwrap.dedent(killed), *given]
    assert subprocess.run(program, stderr=subprocess.DEVNULL, check=False).returncode == 9
    assert Path("s.json.sqlite").exists()
    before = Path("s.json").read_bytes()
    for _ in range(2):
        assert main(given) == 0
        assert "the model was not queried" in capsys.readouterr().err
        assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"s.json", "m.py"}
        assert Path("s.json").read_bytes() == before
    assert main([*given, "--resize", "17"]) == 2
    assert "is another survey: resize" in capsys.readouterr().err
    assert main([*given, "--limit", "5"]) == 2
    assert "7 images there, 5 here" in capsys.readouterr().err
    values = json.loads(before)
    Path("s.json").write_text(json.dumps(values | {"check": None}))
    assert main(given) == 2
    assert "check is off there" in capsys.readouterr().err
    Path("s.json").write_text("{}")
    assert main(given) == 2
    assert "exists, but is not a survey" in capsys.readouterr().err
    assert Path("s.json").read_text() == "{}"


def test_a_survey_that_no_file_can_hold_is_not_paid_for(photos, tmp_path, monkeypatch):
    def refuse(_images):
        raise AssertionError("asked")

    path = tmp_path / "survey.json"
    size = len(iqattack.survey(photos, model(), out=path).model_dump_json())
    path.unlink()
    monkeypatch.setattr("iqattack.runs.surveying.MOST_BYTES", size)
    with pytest.raises(InputError, match=r"may reach .* bytes with 7 images"):
        iqattack.survey(photos, model(refuse), out=path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("iqattack.runs.surveying.HEAD", -400)  # as if failures made it too large
    with pytest.raises(InputError, match="failed images; repair these, then use --resume"):
        iqattack.survey(photos, model(), out=path)
    monkeypatch.setattr("iqattack.runs.surveying.MOST_BYTES", size + 100)
    iqattack.survey(photos, model(refuse), out=path, resume=True)


def test_a_survey_of_other_images_is_not_gone_on_with(photos, tmp_path):
    folder, path, asked = tmp_path / "photos", tmp_path / "survey.json", []
    shutil.copytree(photos, folder)

    def counting(images):
        asked.extend(images)
        return mean(images)

    stop = iqattack.Callbacks(stop=lambda: len(asked) >= 3)
    with pytest.raises(iqattack.api.Interrupted):
        iqattack.survey(folder, model(counting), out=path, batch=1, callbacks=stop)
    (folder / "0.png").unlink()
    with pytest.raises(RunError, match=r"begun with other images \(7 then, 6 now\)"):
        iqattack.survey(folder, model(), out=path, resume=True)


def test_a_survey_that_scored_nothing_leaves_nothing(photos, tmp_path):
    def broken(_images):
        raise ValueError("no")

    with pytest.raises(InputError, match="ValueError: no"):
        iqattack.survey(photos, model(broken), out=tmp_path / "new" / "survey.json")
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_to_its_survey(photos, sharded, tmp_path):
    survey = sharded[0] / "survey.json"
    attack(photos, tmp_path / "run", survey=survey)
    values = json.loads(survey.read_text())
    (tmp_path / "other.json").write_text(json.dumps(values | {"created": "later"}))
    with pytest.raises(RunError, match="begun with another --survey"):
        attack(photos, tmp_path / "run", survey=tmp_path / "other.json", resume=True)
    attack(photos, tmp_path / "without")
    with pytest.raises(RunError, match="begun without --survey"):
        attack(photos, tmp_path / "without", survey=survey, resume=True)
    attack(photos, tmp_path / "shard", survey=survey, shard="1/3")
    with pytest.raises(RunError, match="shard is 1/3 there, 2/3 here"):
        attack(photos, tmp_path / "shard", survey=survey, shard="2/3", resume=True)


# -- what is not merged -------------------------------------------------------------------------


def refuse(folders, out, match):
    before = sorted(out.parent.iterdir())
    with pytest.raises(RunError, match=match):
        iqattack.merge(*folders, out=out)
    assert sorted(out.parent.iterdir()) == before


def test_shards_have_to_be_those_of_one_set(photos, sharded, shards, tmp_path):
    out, survey = tmp_path / "merged", sharded[0] / "survey.json"
    refuse(shards[:2], out, "of 3 shards number 3 is missing")
    refuse(shards[:1], out, r"of 3 shards 2 \(2, 3\) are missing")
    refuse([*shards, shards[1]], out, "both shard 2/3")
    refuse([], out, "no runs to merge")
    refuse([*shards, tmp_path], out, "is not a run")
    whole = attack(photos, tmp_path / "whole").folder
    refuse([*shards, whole], out, "is a whole run, not a shard")
    half = attack(photos, tmp_path / "half", shard="1/2", survey=survey).folder
    refuse([*shards, half], out, "is shard 1/2, .* is one of 3")
    up = attack(photos, tmp_path / "up", shard="3/3", objective="up", survey=survey).folder
    refuse([*shards[:2], up], out, r"objective is rank in .*/1, up in .*/up")
    no = attack(photos, tmp_path / "no", shard="3/3", survey=survey, check=False).folder
    refuse([*shards[:2], no], out, "check is on for one")
    values = json.loads(survey.read_text())
    (tmp_path / "other.json").write_text(json.dumps(values | {"created": "later"}))
    other = attack(photos, tmp_path / "s", shard="3/3", survey=tmp_path / "other.json").folder
    refuse([*shards[:2], other], out, "another survey")


def test_shards_of_other_images_are_refused(photos, tmp_path):
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "6.png").unlink()
    renamed = tmp_path / "renamed"
    shutil.copytree(photos, renamed)
    (renamed / "6.png").rename(renamed / "7.png")
    options = {"objective": "down", "queries": 3}
    first = attack(photos, tmp_path / "1", shard="1/2", **options).folder
    for folder, why in ((fewer, "6 images instead of 7"), (renamed, "other names")):
        second = attack(folder, tmp_path / f"2{folder.name}", shard="2/2", **options).folder
        refuse([first, second], tmp_path / "merged", why)


def change_log(folder, *statements):
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        for statement in statements:
            log.execute(statement)
        log.commit()


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["UPDATE chunk SET rows = zeroblob(LENGTH(rows)) WHERE task = 1"], "changed afterwards"),
        (["DELETE FROM chunk WHERE task = 1"], "log.sqlite has .* queries, but had"),
        (["UPDATE result SET json = '{}' WHERE task = 1"], "an invalid result"),
        (["UPDATE task SET image = '1.png' WHERE id = 1"], "."),
        (["CREATE TRIGGER t AFTER INSERT ON task BEGIN SELECT 1; END"], "the trigger 't'"),
        (
            ["UPDATE result SET json = REPLACE(json, '\"queries\":24', '\"queries\":23')"],
            "24 queries in the log, reported 23",
        ),
    ],
)
def test_a_log_that_was_changed_is_refused(shards, tmp_path, statements, why):
    change_log(shards[2], *statements)
    refuse(shards, tmp_path / "merged", why)


def test_links_are_refused(shards, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    picture = next((shards[0] / "adversarial").iterdir())
    picture.unlink()
    picture.symlink_to(secret)
    refuse(shards, tmp_path / "merged", "is a link")
    shutil.rmtree(shards[0])
    shards[0].symlink_to(shards[1])
    refuse(shards, tmp_path / "merged", "both shard 2/3")


def test_a_shard_that_is_written_or_an_out_that_is_used_is_refused(photos, shards, tmp_path):
    lock = FolderLock(shards[1])
    refuse(shards, tmp_path / "merged", "another process is writing this run; wait until")
    lock.release()
    refuse(shards, shards[0], "already has a run")
    refuse(shards, photos, "is not empty and not a run")


def test_a_missing_picture_is_made_again_from_the_log(photos, shards, tmp_path):
    (shards[1] / "adversarial" / "1.png").unlink()
    said = []
    run = iqattack.merge(
        *shards,
        out=tmp_path / "merged",
        callbacks=iqattack.Callbacks(note=lambda *note: said.append(note)),
    )
    assert "1 attacked images are missing" in said[0][1]
    attack(photos, run.folder, resume=True)
    assert iqattack.verify(run, model()).ok


def test_what_a_merge_that_was_killed_left_is_replaced(shards, tmp_path):
    left = tmp_path / "merged" / ".merging"
    (left / "adversarial").mkdir(parents=True)
    (left / "adversarial" / "0.png").write_bytes(b"half")
    (left / "log.sqlite").write_bytes(b"half")
    assert iqattack.verify(iqattack.merge(*shards, out=tmp_path / "merged"), model()).ok
    assert not left.exists()
    assert not (tmp_path / "merged" / "adversarial" / ".merging").exists()


@pytest.mark.parametrize("there", [False, True])
def test_nobody_begins_a_run_where_shards_are_merged(photos, shards, tmp_path, there):
    out = tmp_path / "merged"
    if there:
        out.mkdir()

    def begin(done, images):
        with pytest.raises(RunError, match=r"merged: is not empty|merged: another process"):
            attack(photos, out, objective="up")

    run = iqattack.merge(*shards, out=out, callbacks=iqattack.Callbacks(merged=begin))
    assert run.summary().attacked == IMAGES

    def intrude(done, images):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "run.toml").write_text("somebody's")

    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="already has a run"):
        iqattack.merge(
            *shards, out=tmp_path / "other", callbacks=iqattack.Callbacks(merged=intrude)
        )
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["run.toml"]
    assert (tmp_path / "other" / "run.toml").read_text() == "somebody's"


def test_a_merge_that_fails_in_the_end_leaves_nothing(shards, tmp_path, monkeypatch):
    real = Path.rename

    def full(path, target):
        if path.name == "run.toml":
            raise OSError(28, "No space left on device", str(path))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="free some space"):
        iqattack.merge(*shards, out=tmp_path / "new" / "merged")
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_to_merge_into_stays_the_same(shards, tmp_path, monkeypatch, capsys):
    here = tmp_path / "here"
    (here / "adversarial").mkdir(parents=True)  # of a run that never began
    (here / ".0123456789abcdef.tmp").write_bytes(b"half")
    monkeypatch.chdir(here)
    assert main(["merge", *map(str, shards), "--out", "."]) == 0
    assert "next: iqattack verify ." in capsys.readouterr().out
    assert Path("run.toml").is_file()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert iqattack.merge(*shards, out=tmp_path / "link").summary().attacked == IMAGES
    assert (tmp_path / "empty" / "run.toml").is_file()
    assert main(["merge", *map(str, shards), "--out", "/"]) == 2
    assert "/: is not empty and not a run" in capsys.readouterr().err


# -- whose results they are ---------------------------------------------------------------------


def test_runs_of_somebody_else_stay_theirs(shards, tmp_path, monkeypatch):
    mine = iqattack.merge(*shards, out=tmp_path / "mine")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody"))
    theirs = iqattack.merge(*shards, out=tmp_path / "theirs")
    assert not is_own(theirs.folder / "run.toml")
    mixed = iqattack.open_run(mine.folder)
    assert not is_own(mixed.folder / "run.toml")  # it is the other user's
    # How visible the changes are is measured again, and said.
    for run in (theirs, mixed):
        change_log(
            run.folder, "UPDATE result SET json = REPLACE(json, '\"ssim\":0.', '\"ssim\":0.1')"
        )
        (note,) = run.checked_state().notes
        assert "was written by somebody else" in note


def test_own_results_stay_own(shards, tmp_path):
    run = iqattack.merge(*shards, out=tmp_path / "merged")
    assert run.checked_state().notes == ()


# -- the program --------------------------------------------------------------------------------

SLOW = """
    import os, time

    def load():
        def score(images):
            time.sleep(float(os.environ.get("SLOW", 0)) * len(images))
            return images.double().mean((1, 2, 3))

        score.score_range, score.lower_better = (0, 255), False
        return score
"""


def test_a_shard_that_was_killed_goes_on(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(textwrap.dedent(SLOW))
    given = [str(photos), "--model", "m.py:load"]
    assert main(["survey", *given, "--out", "survey.json"]) == 0
    assert "7 of 7 images" in capsys.readouterr().out
    search = ["--attack", "square", "--constraint", "linf:3", "--queries", str(QUERIES)]
    shard = ["attack", *given, *search, "--survey", "survey.json"]
    program = [sys.executable, "-m", "iqattack", *shard, "--shard", "1/2", "--out", "1"]
    with subprocess.Popen(
        program, env=os.environ | {"SLOW": "0.05"}, stderr=subprocess.DEVNULL
    ) as running:
        deadline = time.monotonic() + 60
        queries = 0
        while queries < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
            if Path("1/log.end").exists():
                text = Path("1/log.end").read_text()
                queries = int(text.split()[0]) if text else 0
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    assert main([*shard, "--shard", "1/2", "--out", "1", "--resume"]) == 0
    assert main([*shard, "--shard", "2/2", "--out", "2"]) == 0
    capsys.readouterr()
    assert main(["merge", "1", "2", "--out", "merged"]) == 0
    assert "next: iqattack verify merged" in capsys.readouterr().out
    assert main(["attack", *given, *search, "--out", "single"]) == 0
    assert logged(iqattack.open_run("merged")) == logged(iqattack.open_run("single"))
    assert main(["verify", "merged"]) == 0
    assert main(["merge", "1", "--out", "other"]) == 2
    assert "of 2 shards number 2 is missing" in capsys.readouterr().err
