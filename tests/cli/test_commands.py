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
    said = attack("--mos", "mos.csv", "--seed", "3")
    assert said.status == 0
    for text in ("mean gain", "SROCC clean–attacked", "SROCC clean–MOS", "SROCC drop", "4 of 4"):
        assert text in said.out
    assert said.out.endswith("next: iqattack report run\nnext: iqattack verify run\n")
    for line in said.err.splitlines():
        assert json.loads(line)["event"] in ("progress", "loading")
    events = [json.loads(line) for line in said.err.splitlines()]
    last = [event for event in events if event.get("stage") == "attack"][-1]
    assert (last["done"], last["images"], last["queries"]) == (4, 4, 24)

    said = iqattack("verify", "run")
    assert (said.status, said.out) == (0, "4 images checked: all as reported\n")
    said = iqattack("evaluate", "run", "--json")
    assert said.out == Path("run/summary.json").read_text()
    assert json.loads(said.out)["scores"]["clean_mos"]["srocc"] == 1.0
    few, every = iqattack("evaluate", "run").out, iqattack("evaluate", "run", "--all").out
    assert ("KROCC clean–MOS" in few, "KROCC clean–MOS" in every) == (False, True)
    assert "all measures: iqattack evaluate run --all\n" in few
    text = package.open_run("run").summary().verdict.text
    for out in (few, every):
        assert " ".join(out.split()).startswith(text)

    said = attack("--mos", "mos.csv", "--seed", "3", "--resume")
    assert (said.status, "nothing left to do" in said.err) == (0, True)


def test_verify_tells_what_differs(attack, iqattack):
    attack()
    Path("run/adversarial/2.png").write_bytes(Path("photos/2.png").read_bytes())
    said = iqattack("verify", "run")
    assert said.status == 1
    assert re.search(r"^2\.png: attacked score is .*, reported ", said.out, re.MULTILINE)
    assert "4 images checked: 1 differ" in said.out


def test_a_negative_range_and_a_dmos_table(attack, iqattack):
    options = ("--score-range", "-200,55", "--lower-better", "--objective", "up")
    said = attack(*options, model="model.py:undeclared")
    assert said.status == 0
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
    said = attack("--out", "[/bold]run", *options, model="[red]model.py:undeclared")
    assert said.status == 0
    assert "[red]model.py:undeclared under noise" in said.out
    assert "attacked images  [/bold]run/adversarial\n" in said.out


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
    said = attack()
    assert said.status == 2
    assert "error: output cannot be written (No space left on device)" in said.err
    assert package.open_run("run").summary().attacked == 4


def test_lists_and_help(iqattack):
    assert iqattack("--version").out == f"iqattack {package.__version__}\n"
    assert "score-boundary" in iqattack("attacks").out
    error = iqattack("attacks", "filter-serch").error
    assert error.startswith("error: unknown attack 'filter-serch': did you mean 'filter-search'?")
    assert "pyiqa:NAME[,option=value]" in iqattack("models").out
    commands = ("attack", "evaluate", "compare", "report", "verify", "models", "samples", "demo")
    for command in commands:
        said = iqattack(command, "--help")
        assert (said.status, "Examples" in said.out) == (0, True)


def test_model_card(iqattack):
    said = iqattack("models", "builtin")
    assert (said.status, said.out) == (0, package.api.builtin_card())
    assert said.out == (DOCS / "builtin.md").read_text(encoding="utf-8")


def test_samples(iqattack):
    said = iqattack("samples", "here")
    assert said.status == 0
    assert said.out.startswith("24 images and their labels in here/mos.csv\nnext: iqattack attack")
    assert len(list(Path("here").glob("*.png"))) == 24
    said = iqattack("samples", "here/mos.csv")
    assert (said.status, "here/mos.csv: cannot be made" in said.error) == (2, True)


@pytest.mark.slow
def test_demo(iqattack, monkeypatch):
    monkeypatch.setattr("iqattack.cli.demo.QUERIES", 12)
    said = iqattack("demo", "--out", "demo")
    assert said.status == 0
    assert "'builtin', a small network trained on pseudo-MOS" in said.out
    assert "24 images checked: all as reported" in said.out
    assert "the page         demo/run/report/index.html" in said.out
    assert Path("demo/run/report/index.html").is_file()
    summary = json.loads(Path("demo/run/summary.json").read_text())
    assert summary["attacked"] == 24
    srocc = {name: summary["scores"][name]["srocc"] for name in ("clean_mos", "attacked_mos")}
    assert srocc["clean_mos"] > 0.87
    assert srocc["attacked_mos"] < srocc["clean_mos"] - 0.03  # a sixteenth of the demo's queries
    least = summary["means"]["jod_least"]
    assert least is None or least > 9.6  # None without ColorVideoVDP
    before = {path: path.read_bytes() for path in Path("demo/images").iterdir()}
    said = iqattack("demo", "--out", "demo")  # again: nothing is scored, the same is shown
    assert said.status == 0
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
    said = iqattack("profile", "model.py:load", "photos", "--out", "learnt", *options, *more)
    assert said.status == 0
    assert "learnt from 4 images, in " in said.out
    next_ = said.out.splitlines()[-1].removeprefix("next: iqattack ")
    command = next_.replace("OTHER_IMAGES", "photos").replace("--queries 100", "--queries 5")
    said = iqattack(*shlex.split(command))
    assert said.status == 0
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
    said = iqattack(*asked)
    assert said.status == 0
    assert "4 images, " in said.out
    file = Path("learnt/perturbation.safetensors")
    *_, attack, apply = said.out.splitlines()
    attack = attack.removeprefix("next: iqattack ").replace("OTHER_IMAGES", "photos")
    assert iqattack(*shlex.split(attack)).status == 0
    run = package.open_run("runs/universal")
    assert run.settings.attack == f"universal:file={file.absolute()}"
    assert all(row.queries <= 2 for row in run.results)
    assert iqattack("verify", "runs/universal", "--trust").status == 0
    apply = apply.removeprefix("or without queries: iqattack ").replace("OTHER_IMAGES", "photos")
    said = iqattack(*shlex.split(apply), "--convert")
    assert (said.status, said.out.splitlines()[-1]) == (0, "4 images: changed")
    again = iqattack(*asked)
    assert again.error == (
        "error: learnt: already has a universal perturbation; continue with --resume, or use "
        "another --out"
    )
    assert iqattack("apply", "learnt", "photos", "--out", "changed").error == (
        "error: changed: is not empty; use another --out"
    )
    Path("photos/broken.png").write_bytes(b"none")
    said = iqattack("apply", "learnt", "photos", "--out", "more", "--convert")
    assert said.status == 1
    assert "broken.png" in said.err
    assert said.out.splitlines()[-1] == "4 images: more; 1 failed"


def test_a_universal_perturbation_is_learnt_behind_jpeg(iqattack):
    asked = ["universal", "photos", "--model", "model.py:load", "--out", "learnt"]
    asked += ["--queries", "60", "--jpeg"]
    assert iqattack(*asked, "101").error == (
        "error: jpeg 101: expected a quality from 1 to 100, such as 75; leave it out to score "
        "candidates as they are"
    )
    assert not Path("learnt").exists()
    said = iqattack(*asked, "80")
    assert said.status == 0
    assert "scored after JPEG 80" in " ".join(said.out.split())
    assert "scored after JPEG 80 there, " in iqattack(*asked, "75", "--resume").error


def test_a_range_that_is_not_the_models_is_told(iqattack):
    options = ("--constraint", "linf:3", "--queries", "5", "--objective", "up", "--out", "run")
    said = iqattack(
        "attack", "photos", "--model", "model.py:load", "--score-range", "0,1", *options
    )
    assert said.status == 0
    assert "lies outside the model's score range 0 to 1, and so do those of 3 more" in said.err
    said = iqattack("evaluate", "run")
    (line,) = (line for line in said.out.splitlines() if "at the end of the range" in line)
    assert "4" in line


def test_evaluate_with_a_metric_of_pyiqa(attack, iqattack):
    pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")
    attack()
    said = iqattack("evaluate", "run", "--metric", "gmsd")
    assert said.status == 0
    assert "mean gmsd, of pyiqa" in said.out
    said = iqattack("evaluate", "run", "--metric", "gmsd", "--queries", "3")
    assert said.error.startswith("error: metrics gmsd: need the saved images")


def test_detect_prints_a_table_or_json_and_writes_rows(iqattack, attack, work):
    assert attack().status == 0
    said = iqattack("detect", "run", "--out", "rows.csv")
    assert said.status == 0, said.err
    assert "query of the first detection, median" in said.out
    assert "share of clean images flagged" in said.out
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
    said = iqattack("detect", "run", *options)
    assert said.status == 2
    assert part in said.error


def test_rescore_prints_the_bias_and_evaluate_has_it(iqattack, attack, work):
    assert attack().status == 0
    said = iqattack("rescore", "run", "--times", "2")
    assert said.status == 0, said.err
    assert "0.000 of that is selection bias" in " ".join(said.out.split())
    assert len((work / "run" / "rescored.csv").read_text().splitlines()) == 5
    assert "mean gain of fresh scores" in iqattack("evaluate", "run").out
    assert iqattack("verify", "run").status == 0
    assert iqattack("report", "run").status == 0
    assert "selection bias" in (work / "run" / "report" / "index.html").read_text()
    said = iqattack("rescore", "run", "--times", "1")
    assert said.status == 2
    assert "times 1: expected 2 to 10,000" in said.error


def test_defended_prints_a_table_or_json(iqattack, attack, work):
    assert attack().status == 0
    assert attack("--defence", "bits:5", "--out", "behind").status == 0
    options = ("--defence", "bits:5", "--adaptive", "behind", "--out", "rows.csv")
    said = iqattack("defended", "run", *options)
    assert said.status == 0, said.err
    for line in ("mean gain without the defence", "share of the gain left, adaptive",
                 "SROCC of clean scores with and without"):  # fmt: skip
        assert line in said.out
    assert len((work / "rows.csv").read_text().splitlines()) == 5
    found = json.loads(iqattack("defended", "run", "--defence", "bits:5", "--json").out)
    assert found["queries"] == 8
    assert found["gain_adaptive"] is None
    said = iqattack("defended", "run", "--defence", "bits:9")
    assert said.status == 2
    assert "defence 'bits:9'" in said.error
