import errno
import json
import re
import shlex
import shutil
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.console import Console

import iqattack as package
from iqattack.cli.options import parse_range
from iqattack.cli.progress import Display, clock, seconds_left
from iqattack.engine import Progress

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_attack_evaluate_verify(attack, iqattack):
    Path("mos.csv").write_text("image,mos\n0.png,1\n1.png,2\n2.png,3\n3.png,4\n")
    result = attack("--mos", "mos.csv", "--seed", "3")
    assert result.status == 0
    for text in ("mean gain", "SROCC clean–attacked", "SROCC clean–MOS", "SROCC drop", "4 of 4"):
        assert text in result.out
    assert result.out.endswith("next: iqattack report run\nnext: iqattack verify run\n")
    for line in result.err.splitlines():
        assert json.loads(line)["event"] in ("progress", "loading")
    events = [json.loads(line) for line in result.err.splitlines()]
    last = [event for event in events if event.get("stage") == "attack"][-1]
    assert (last["done"], last["images"], last["queries"]) == (4, 4, 24)

    result = iqattack("verify", "run")
    assert (result.status, result.out) == (0, "4 images checked: all as reported\n")
    result = iqattack("evaluate", "run", "--json")
    assert result.out == Path("run/summary.json").read_text()
    assert json.loads(result.out)["scores"]["clean_mos"]["srocc"] == 1.0
    few, every = iqattack("evaluate", "run").out, iqattack("evaluate", "run", "--all").out
    assert ("KROCC clean–MOS" in few, "KROCC clean–MOS" in every) == (False, True)
    assert "all measures: iqattack evaluate run --all\n" in few
    text = package.open_run("run").summary().verdict.text
    for out in (few, every):
        assert " ".join(out.split()).startswith(text)

    result = attack("--mos", "mos.csv", "--seed", "3", "--resume")
    assert (result.status, "nothing left to do" in result.err) == (0, True)


def test_verify_tells_what_differs(attack, iqattack):
    attack()
    Path("run/adversarial/2.png").write_bytes(Path("photos/2.png").read_bytes())
    result = iqattack("verify", "run")
    assert result.status == 1
    assert re.search(r"^2\.png: attacked score is .*, reported ", result.out, re.MULTILINE)
    assert "4 images checked: 1 differ" in result.out


def test_a_negative_range_and_a_dmos_table(attack, iqattack):
    options = ("--score-range", "-200,55", "--lower-better", "--objective", "up")
    result = attack(*options, model="model.py:undeclared")
    assert result.status == 0
    run = package.open_run("run")
    assert run.model.score_range == (-200.0, 55.0)
    assert all(row.score_adv < row.score_clean for row in run.results)
    assert iqattack("verify", "run").status == 0
    assert parse_range("-1.5,-1e-3") == (-1.5, -0.001)


def test_limit(attack):
    assert attack("--limit", "2").status == 0
    assert [row.image for row in package.open_run("run").results] == ["0.png", "1.png"]


def test_names_with_brackets_are_no_markup(attack, iqattack):
    shutil.copy("model.py", "[red]model.py")
    options = ("--score-range", "-200,55", "--no-lower-better")
    result = attack("--out", "[/bold]run", *options, model="[red]model.py:undeclared")
    assert result.status == 0
    assert "[red]model.py:undeclared under noise" in result.out
    assert "attacked images  [/bold]run/adversarial\n" in result.out


def test_an_encoding_without_our_marks(attack, monkeypatch):
    raw = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(raw, encoding="ascii", write_through=True))
    assert attack().status == 0
    assert b"SROCC clean?attacked" in raw.getvalue()


class FullDisk(StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_table_to_a_full_disk(attack, monkeypatch):
    monkeypatch.setattr("sys.stdout", FullDisk())
    result = attack()
    assert result.status == 2
    assert "error: output cannot be written (No space left on device)" in result.err
    assert package.open_run("run").summary().attacked == 4


def test_lists_and_help(iqattack):
    assert iqattack("--version").out == f"iqattack {package.__version__}\n"
    assert "score-boundary" in iqattack("attacks").out
    error = iqattack("attacks", "filter-serch").error
    assert error.startswith("error: unknown attack 'filter-serch': did you mean 'filter-search'?")
    assert "pyiqa:NAME[,option=value]" in iqattack("models").out
    commands = ("attack", "evaluate", "compare", "report", "verify", "models", "samples", "demo")
    for command in commands:
        result = iqattack(command, "--help")
        assert (result.status, "Examples" in result.out) == (0, True)


def test_model_card(iqattack):
    result = iqattack("models", "builtin")
    assert (result.status, result.out) == (0, package.api.builtin_card())
    assert result.out == (DOCS / "builtin.md").read_text(encoding="utf-8")


def test_samples(iqattack):
    result = iqattack("samples", "here")
    assert result.status == 0
    assert result.out.startswith(
        "24 images and their labels in here/mos.csv\nnext: iqattack attack"
    )
    assert len(list(Path("here").glob("*.png"))) == 24
    result = iqattack("samples", "here/mos.csv")
    assert (result.status, "here/mos.csv: cannot be made" in result.error) == (2, True)


@pytest.mark.slow
def test_demo(iqattack, monkeypatch):
    monkeypatch.setattr("iqattack.cli.demo.QUERIES", 12)
    result = iqattack("demo", "--out", "demo")
    assert result.status == 0
    assert "'builtin', a small network trained on pseudo-MOS" in result.out
    assert "24 images checked: all as reported" in result.out
    assert "the page         demo/run/report/index.html" in result.out
    assert Path("demo/run/report/index.html").is_file()
    summary = json.loads(Path("demo/run/summary.json").read_text())
    assert summary["attacked"] == 24
    srocc = {name: summary["scores"][name]["srocc"] for name in ("clean_mos", "attacked_mos")}
    assert srocc["clean_mos"] > 0.87
    assert srocc["attacked_mos"] < srocc["clean_mos"] - 0.03  # a sixteenth of the demo's queries
    least = summary["means"]["jod_least"]
    assert least is None or least > 9.6  # None without ColorVideoVDP
    before = {path: path.read_bytes() for path in Path("demo/images").iterdir()}
    result = iqattack("demo", "--out", "demo")  # again: nothing is scored, the same is shown
    assert result.status == 0
    assert before == {path: path.read_bytes() for path in Path("demo/images").iterdir()}


def state(**changes):
    values = {
        "stage": "attack", "done": 2, "images": 10, "queries": 300, "spent": 400, "budget": 1000,
        "attempts": 0, "gain": 0.25, "batch": 8, "seconds": 3.0,
    }  # fmt: skip
    return Progress(**{**values, **changes})


def test_time_left_is_what_the_budget_still_allows():
    assert seconds_left(state()) == 6.0
    assert seconds_left(state(done=9)) == 1.0
    assert seconds_left(state(queries=0)) is None
    assert (clock(59.6), clock(3723)) == ("1:00", "1:02:03")


def test_lines_are_few_and_the_last_is_told(capsys):
    shown = Display(console=Console(force_terminal=False))
    for done in range(100):
        shown.progress(state(done=done % 10))
    shown.end()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["done"] for line in lines] == [0, 9]
    assert lines[0]["queries_per_second"] == 100.0


def test_a_terminal_gets_a_bar():
    console = Console(force_terminal=True, width=120)
    with console.capture() as captured:
        shown = Display(console=console)
        shown.start()
        shown.note("a.png", "grey converted to RGB")
        shown.progress(state())
        shown.end()
    assert "note: a.png: grey converted to RGB" in captured.get()
    assert "2/10 images · 100 queries/s · mean gain 0.250 · at most 0:06 left" in captured.get()


def test_profile_and_an_attack_that_uses_it(iqattack):
    options = ("--constraint", "linf:3", "--queries", "50")
    more = ("--score-range", "-5,260", "--no-lower-better", "--objective", "up", "--convert")
    result = iqattack("profile", "model.py:load", "photos", "--out", "learnt", *options, *more)
    assert result.status == 0
    assert "learnt from 4 images, in " in result.out
    next_ = result.out.splitlines()[-1].removeprefix("next: iqattack ")
    command = next_.replace("OTHER_IMAGES", "photos").replace("--queries 100", "--queries 5")
    result = iqattack(*shlex.split(command))
    assert result.status == 0
    settings = package.open_run("runs/profiled").settings
    assert settings.attack == f"filter-search:profile={Path('learnt/profile.json').absolute()}"
    assert (settings.constraint, settings.objective) == ("linf:3", "up")
    assert (settings.score_range, settings.lower_better) == ((-5.0, 260.0), False)
    assert settings.convert
    assert iqattack("profile", "model.py:load", "photos", "--out", "learnt", *options).error == (
        "error: learnt: already has a profile; continue with --resume, or use another --out"
    )


def test_a_universal_perturbation_attacks_and_is_applied(iqattack):
    options = ("--constraint", "linf:3", "--queries", "200", "--objective", "up", "--convert")
    asked = ("universal", "photos", "--model", "model.py:load", "--out", "learnt", *options)
    result = iqattack(*asked)
    assert result.status == 0
    assert "4 images, " in result.out
    file = Path("learnt/perturbation.safetensors")
    *_, attack, apply = result.out.splitlines()
    attack = attack.removeprefix("next: iqattack ").replace("OTHER_IMAGES", "photos")
    assert iqattack(*shlex.split(attack)).status == 0
    run = package.open_run("runs/universal")
    assert run.settings.attack == f"universal:file={file.absolute()}"
    assert all(row.queries <= 2 for row in run.results)
    assert iqattack("verify", "runs/universal", "--trust").status == 0
    apply = apply.removeprefix("or without queries: iqattack ").replace("OTHER_IMAGES", "photos")
    result = iqattack(*shlex.split(apply), "--convert")
    assert (result.status, result.out.splitlines()[-1]) == (0, "4 images: changed")
    again = iqattack(*asked)
    assert again.error == (
        "error: learnt: already has a universal perturbation; continue with --resume, or use "
        "another --out"
    )
    assert iqattack("apply", "learnt", "photos", "--out", "changed").error == (
        "error: changed: is not empty; use another --out"
    )
    Path("photos/broken.png").write_bytes(b"none")
    result = iqattack("apply", "learnt", "photos", "--out", "more", "--convert")
    assert result.status == 1
    assert "broken.png" in result.err
    assert result.out.splitlines()[-1] == "4 images: more; 1 failed"


def test_a_universal_perturbation_is_learnt_behind_jpeg(iqattack):
    asked = ["universal", "photos", "--model", "model.py:load", "--out", "learnt"]
    asked += ["--queries", "60", "--jpeg"]
    assert iqattack(*asked, "101").error == (
        "error: jpeg 101: expected a quality from 1 to 100, such as 75; leave it out to score "
        "candidates as they are"
    )
    assert not Path("learnt").exists()
    result = iqattack(*asked, "80")
    assert result.status == 0
    assert "scored after JPEG 80" in " ".join(result.out.split())
    assert "scored after JPEG 80 there, " in iqattack(*asked, "75", "--resume").error


def test_a_range_that_is_not_the_models_is_told(iqattack):
    options = ("--constraint", "linf:3", "--queries", "5", "--objective", "up", "--out", "run")
    result = iqattack(
        "attack", "photos", "--model", "model.py:load", "--score-range", "0,1", *options
    )
    assert result.status == 0
    assert "lies outside the model's score range 0 to 1, and so do those of 3 more" in result.err
    result = iqattack("evaluate", "run")
    (line,) = (line for line in result.out.splitlines() if "at the end of the range" in line)
    assert "4" in line


def test_evaluate_with_a_metric_of_pyiqa(attack, iqattack):
    pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")
    attack()
    result = iqattack("evaluate", "run", "--metric", "gmsd")
    assert result.status == 0
    assert "mean gmsd, of pyiqa" in result.out
    result = iqattack("evaluate", "run", "--metric", "gmsd", "--queries", "3")
    assert result.error.startswith("error: metrics gmsd: need the saved images")


def test_detect_prints_a_table_or_json_and_writes_rows(iqattack, attack, work):
    assert attack().status == 0
    result = iqattack("detect", "run", "--out", "rows.csv")
    assert result.status == 0, result.err
    assert "query of the first detection, median" in result.out
    assert "share of clean images flagged" in result.out
    assert len((work / "rows.csv").read_text().splitlines()) == 5
    found = json.loads(iqattack("detect", "run", "--json", "--accounts", "image").out)
    assert found["accounts"] == "image"
    assert [row["image"] for row in found["images"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert iqattack("verify", "run").status == 0


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--accounts", "0"), "--accounts 0: expected 1 to 1,000,000, or image"),
        (("--accounts", "each"), "--accounts each: expected 1 to 1,000,000, or image"),
        (("--accounts", "99999999"), "--accounts 99999999: expected 1 to 1,000,000, or image"),
        (("--accounts", "²"), "--accounts ²: expected 1 to 1,000,000, or image"),
        (("--detector", "blacklight:window=0"), "window=0: expected a whole number, 1 to 4,096"),
        (("--detector", "blacklight:keep=x"), "keep=x: expected a whole number, 1 to 4,096"),
        (
            ("--detector", "blacklight:matches=-1"),
            "matches=-1: expected a whole number, at least 0",
        ),
        (("--detector", "blacklight:matches=60"), "matches=60 is not below keep=50"),
        (("--detector", "blacklight:size=2"), "'size=2' is none of its constants"),
    ],
)
def test_detect_refuses_what_it_cannot_use(options, part, iqattack, attack):
    assert attack().status == 0
    result = iqattack("detect", "run", *options)
    assert result.status == 2
    assert part in result.error


def test_rescore_prints_the_bias_and_evaluate_has_it(iqattack, attack, work):
    assert attack().status == 0
    result = iqattack("rescore", "run", "--times", "2")
    assert result.status == 0, result.err
    assert "0.000 of that is selection bias" in " ".join(result.out.split())
    assert len((work / "run" / "rescored.csv").read_text().splitlines()) == 5
    assert "mean gain of fresh scores" in iqattack("evaluate", "run").out
    assert iqattack("verify", "run").status == 0
    assert iqattack("report", "run").status == 0
    assert "selection bias" in (work / "run" / "report" / "index.html").read_text()
    result = iqattack("rescore", "run", "--times", "1")
    assert result.status == 2
    assert "times 1: expected 2 to 10,000" in result.error


def test_defended_prints_a_table_or_json(iqattack, attack, work):
    assert attack().status == 0
    assert attack("--defence", "bits:5", "--out", "behind").status == 0
    options = ("--defence", "bits:5", "--adaptive", "behind", "--out", "rows.csv")
    result = iqattack("defended", "run", *options)
    assert result.status == 0, result.err
    for line in ("mean gain without the defence", "share of the gain left, adaptive",
                 "SROCC of clean scores with and without"):  # fmt: skip
        assert line in result.out
    assert len((work / "rows.csv").read_text().splitlines()) == 5
    found = json.loads(iqattack("defended", "run", "--defence", "bits:5", "--json").out)
    assert found["queries"] == 8
    assert found["gain_adaptive"] is None
    result = iqattack("defended", "run", "--defence", "bits:9")
    assert result.status == 2
    assert "defence 'bits:9'" in result.error
