import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import AxLine
from PIL import Image

import iqattack
from iqattack.engine import Interrupted
from iqattack.errors import InputError, RunError
from iqattack.evaluation import bootstrap_interval, srocc
from iqattack.reporting.figures.figure import KINDS, Request
from iqattack.reporting.figures.labels import labels_of
from iqattack.reporting.figures.look import COLOURS, PaperFigure

LEVELS = (253, 251, 100)  # grey levels of the images: with objective up, scores end at 255
CAPS = (2, 4, 5)  # and gain so many levels, with a box of 5


def ramp(task):
    """One level brighter with each query."""
    for k in range(1, task.queries + 1):
        yield (task.image + k)[None]


def brightness(batch):
    return batch.double().mean((1, 2, 3))


def photos(folder: Path, levels=LEVELS) -> Path:
    folder.mkdir(parents=True)
    for k, level in enumerate(levels):
        Image.fromarray(np.full((24, 24, 3), level, np.uint8)).save(folder / f"{k}.png")
    return folder


def ramped(
    folder: Path, name: str = "run", levels=LEVELS, lower_better=False, width=255, **changes
):
    """A run whose gains are known: min(query − 1, what is left to 255, 5) levels."""
    where = folder / f"photos-{name}"
    asked = {"objective": "up", "constraint": "linf:5", "queries": 8, "check": False, **changes}
    model = iqattack.wrap(
        brightness, name="bright", score_range=(0.0, width), lower_better=lower_better
    )
    return iqattack.attack(photos(where, levels), model, attack=ramp, out=folder / name, **asked)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return ramped(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    wide = {"levels": (100, 90, 80), "constraint": "linf:20"}
    return ramped(folder, "long", queries=12, **wide), ramped(folder, "short", queries=4, **wide)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


def gained(queries: int, caps=CAPS) -> np.ndarray:
    return np.minimum(queries - 1, caps) / 255


# -- what is drawn --------------------------------------------------------------------------------


def test_the_line_of_a_run_whose_gains_are_known(known, tmp_path):
    figure = iqattack.plot(known, data=tmp_path / "d.csv")
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    x = np.asarray(line.get_xdata())
    assert x.tolist() == list(range(1, 7))  # the box has no more
    expected = [100 * gained(q).mean() for q in x]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, atol=1e-9)
    found = rows(tmp_path / "d.csv")
    for row, q in zip(found, x, strict=True):
        low, high = bootstrap_interval(lambda x: float(np.mean(x)), gained(q))
        values = [float(row[name]) for name in ("mean_gain", "low", "high")]
        np.testing.assert_allclose(values, (gained(q).mean(), low, high), atol=1e-12)
        assert (row["queries"], row["images"]) == (str(q), "3")
    (band,) = [each for each in axes.collections if isinstance(each, PolyCollection)]
    top = np.asarray(band.get_paths()[0].vertices)[:, 1].max()
    assert top == pytest.approx(100 * max(float(row["high"]) for row in found))
    assert axes.get_xscale() == "log"


def test_runs_of_different_budgets_end_where_theirs_do(two):
    figure = iqattack.plot(two)
    ends = [np.asarray(line.get_xdata())[-1] for line in figure.axes[0].get_lines()]
    assert ends == [12, 4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "12 queries", "4 queries",
    ]  # fmt: skip


def test_a_share_of_images_across_a_boundary(known, tmp_path):
    figure = iqattack.plot(known, "crossing", boundaries=(0.5, 1.0), data=tmp_path / "d.csv")
    lines = figure.axes[0].get_lines()
    # 253 is half of the way after 2 queries and there after 3, 251 after 3 and 5, 100 never.
    for line, at in zip(lines, ((2, 3, 99), (3, 5, 99)), strict=True):
        shares = [100 * np.mean([q >= first for first in at]) for q in np.asarray(line.get_xdata())]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), shares)
    assert {row["boundary"] for row in rows(tmp_path / "d.csv")} == {"0.5", "1"}
    final = [row for row in rows(tmp_path / "d.csv") if row["queries"] == "6"]
    assert [float(row["share"]) for row in final] == [pytest.approx(2 / 3)] * 2


def test_an_objective_with_a_boundary_has_that_one(tmp_path):
    run = ramped(tmp_path, objective="up:0.5")
    other = ramped(tmp_path, "other")
    texts = [t.get_text() for t in iqattack.plot(run, "crossing").legends[0].get_texts()]
    assert texts == ["boundary at 50 %"]
    assert [axes.get_title() for axes in iqattack.plot([run, other], "crossing").axes] == [
        "boundary at 50 %"
    ]
    alone = iqattack.plot(other, "crossing").legends[0].get_texts()
    assert [text.get_text() for text in alone] == [f"boundary at {b} %" for b in (10, 20, 50)]


def test_images_without_a_way_to_go_are_in_no_share(tmp_path):
    run = ramped(tmp_path, levels=(255, 253))
    iqattack.plot(run, "crossing", boundaries=(1.0,), data=tmp_path / "d.csv")
    last = rows(tmp_path / "d.csv")[-1]
    assert (last["images"], last["share"], last["low"]) == ("1", "1.0", "")
    with pytest.raises(RunError, match="all clean scores lie at the ends of the score range"):
        iqattack.plot(ramped(tmp_path, "white", levels=(255, 255)), "crossing")


def test_scores_before_and_after(known, run, tmp_path):
    figure = iqattack.plot([known, run], "scatter", data=tmp_path / "d.csv")
    found = rows(tmp_path / "d.csv")
    done = [row for each in (known, run) for row in each.results if not row.failed]
    assert [row["image"].removeprefix("'") for row in found] == [row.image for row in done]
    assert [row["direction"] for row in found] == [row.direction for row in done]
    assert [float(row["score_adv"]) for row in found] == [row.score_adv for row in done]
    for each, axes in zip((known, run), figure.axes, strict=True):
        own = [row for row in each.results if not row.failed]
        identity, up, down = axes.get_lines()
        assert isinstance(identity, AxLine)
        assert identity.get_slope() == 1.0
        for line, way in ((up, "up"), (down, "down")):
            there = sorted((r.score_clean, r.score_adv) for r in own if r.direction == way)
            assert sorted(zip(*np.asarray(line.get_data()).tolist(), strict=True)) == there
        assert up.get_marker() != down.get_marker()
        value = srocc([r.score_clean for r in own], [r.score_adv for r in own])
        assert f"SROCC {value:.2f} [".replace("-", "−") in axes.get_title()


def test_gain_against_visibility(known, tmp_path):
    figure = iqattack.plot(known, "ssim", data=tmp_path / "d.csv")
    *each, mean = rows(tmp_path / "d.csv")
    assert [(row["image"], float(row["ssim"]), float(row["gain"])) for row in each] == [
        (row.image, row.ssim, row.gain) for row in known.results
    ]
    gains = [row.gain for row in known.results]
    low, high = bootstrap_interval(lambda x: float(np.mean(x)), gains)
    values = [float(mean[name]) for name in ("gain", "gain_low", "gain_high")]
    np.testing.assert_allclose(values, (np.mean(gains), low, high))
    points = figure.axes[0].get_lines()[0]
    assert points.get_ydata() == pytest.approx([100 * gain for gain in gains])


def test_jod_is_measured_where_that_can_be(known):
    if iqattack.evaluate(known).means.jod is None:
        with pytest.raises(RunError, match=r"pip install 'iqattack\[visibility\]'"):
            iqattack.plot(known, "ssim", visibility="jod")
    else:
        assert iqattack.plot(known, "ssim", visibility="jod").axes[0].get_xlabel()[:3] == "JOD"


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_has_no_interval(kind, tmp_path):
    run = ramped(tmp_path, levels=(253,))
    figure = iqattack.plot(run, kind, out=tmp_path / "f.pdf", data=tmp_path / "d.csv")
    for row in rows(tmp_path / "d.csv"):
        assert {value for name, value in row.items() if name.endswith(("low", "high"))} == {""}
    assert "[" not in figure.axes[0].get_title()


def test_what_is_left_out_is_noted(make_run, tmp_path):
    done, notes = [], []
    stopping = iqattack.Callbacks(
        progress=lambda state: done.append(state.done if state.stage == "attack" else 0),
        stop=lambda: done[-1:] >= [2],
    )
    with pytest.raises(Interrupted):
        make_run(tmp_path, batch=1, callbacks=stopping)
    run = iqattack.open_run(tmp_path / "run")
    results, pending = run.state()
    notify = iqattack.Callbacks(note=lambda *said: notes.append(said))
    for kind in KINDS:
        notes.clear()
        iqattack.plot(run, kind, callbacks=notify, data=tmp_path / "d.csv")
        of_images = {row.get("images", "") for row in rows(tmp_path / "d.csv")} - {""}
        assert of_images <= {str(len(results.done))}
        said = f"{pending} images pending, not in the figure"
        assert (str(run.folder), said) in notes
    assert pending > 0


def test_a_failed_image_is_noted(run, tmp_path):
    notes = []
    notify = iqattack.Callbacks(note=lambda *said: notes.append(said))
    iqattack.plot(run, callbacks=notify, data=tmp_path / "d.csv")
    assert notes == [(str(run.folder), "1 image failed, not in the figure")]
    assert {row["images"] for row in rows(tmp_path / "d.csv")} == {"7"}


def test_runs_with_other_ranges_have_axes_of_their_own(tmp_path):
    wide = ramped(tmp_path, "wide", width=1000, lower_better=True, objective="down")
    same, other, third = ramped(tmp_path, "a"), ramped(tmp_path, "b", queries=5), wide
    limits = [axes.get_xlim() for axes in iqattack.plot([same, other, third], "scatter").axes]
    assert limits[0] == limits[1]
    figure = iqattack.plot([same, wide], "scatter")
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "clean score", "clean score (lower is better)",
    ]  # fmt: skip
    lines = [iqattack.plot(run).axes[0].get_lines()[0] for run in (same, wide)]
    top = [np.asarray(line.get_ydata())[-1] for line in lines]
    assert top[1] == pytest.approx(top[0] * 255 / 1000)


# -- labels ---------------------------------------------------------------------------------------


def test_labels_are_what_differs(two, known, tmp_path):
    long, _ = two
    assert labels_of([long])[0].endswith("ramp")
    assert labels_of(two) == ["12 queries", "4 queries"]
    settings = long.settings.model_copy(update={"seed": 3})
    seeded = iqattack.open_run(long.folder)
    seeded.record = replace_settings(seeded.record, settings)
    assert labels_of([long, seeded]) == ["seed 0", "seed 3"]
    # A line's end tells the budget; a cloud of points does not.
    seeded.record = replace_settings(
        seeded.record, settings.model_copy(update={"queries": 4, "constraint": "linf:3"})
    )
    assert labels_of([long, seeded]) == [
        "linf:20, seed 0, 12 queries",
        "linf:3, seed 3, 4 queries",
    ]
    assert labels_of([long, seeded], ends=True) == ["linf:20, seed 0", "linf:3, seed 3"]
    assert labels_of([long, seeded, two[1]], ends=True) == [
        "linf:20, seed 0, 12 queries",
        "linf:3, seed 3",
        "linf:20, seed 0, 4 queries",
    ]
    alike = ramped(tmp_path)
    assert labels_of([alike, known]) == [str(alike.folder), str(known.folder)]


def replace_settings(record, settings):
    return record.model_copy(update={"settings": settings})


def test_given_labels_are_texts_and_no_mathematics(two, tmp_path):
    labels = ["_$x^{2}$ <img onerror=1>", "b\x1b[31m"]
    figure = iqattack.plot(two, labels=labels, out=tmp_path / "f.svg")
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts] == [labels[0], r"b\x1b[31m"]
    assert not any(text.get_parse_math() for text in texts)
    assert "onerror=1>" not in (tmp_path / "f.svg").read_text()
    facets = iqattack.plot(two, "scatter", labels=["$a$", "$b$"], out=tmp_path / "g.png").axes
    assert [axes.get_title().split("\n")[0] for axes in facets] == ["$a$", "$b$"]
    with pytest.raises(InputError, match="1 labels for 2 runs: expected one for each"):
        iqattack.plot(two, labels=["a"])


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    "labels",
    [
        ["a name of some length " * 3, "another one " * 9, "c", "d"],
        ["square, 300 queries", "nes", "filter-search, 300 queries", "square, 1,000 queries"],
        ["a", "b", "c", "d"],
    ],
)
def test_a_legend_fits_its_columns(two, known, run, labels, columns):
    figure = iqattack.plot([*two, known, run], labels=labels, columns=columns)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y0 > figure.axes[0].get_window_extent().y1


def test_letters_and_room_that_lack_are_noted(two, tmp_path, recwarn):
    notes = []
    notify = iqattack.Callbacks(note=lambda *said: notes.append(said[1]))
    asked = {"out": tmp_path / "f.png", "callbacks": notify}
    iqattack.plot(two, labels=["\u65e5\u672c", "Ж é ≥"], **asked)
    assert [note.partition(";")[0] for note in notes] == [
        "some letters are missing from its fonts and drawn as boxes"
    ]
    notes.clear()
    iqattack.plot(two, labels=["Ж", "é ≥"], **asked)
    assert notes == []
    iqattack.plot([*two], labels=["a " * 100, "b " * 100], height=0.5, **asked)
    assert [note.partition(";")[0] for note in notes] == ["there is no room for the axes"]
    assert not recwarn.list


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_runs_give_the_same_bytes(two, tmp_path, form):
    first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
    mpl.rcParams["lines.linewidth"] = 9.0  # of whoever draws
    try:
        iqattack.plot(two, out=first)
    finally:
        mpl.rcdefaults()
    time.sleep(1.1)  # dates have seconds
    figure = iqattack.plot(two, out=second)
    assert first.read_bytes() == second.read_bytes()
    figure.savefig(tmp_path / f"c.{form}")
    assert (tmp_path / f"c.{form}").read_bytes() == first.read_bytes()


def test_fonts_are_truetype_and_nothing_is_dated(two, tmp_path):
    iqattack.plot(two, out=tmp_path / "f.pdf")
    data = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    assert b"Date" not in data


@pytest.mark.parametrize(("columns", "inches"), [(1, 3.5), (2, 7.16)])
def test_a_figure_is_as_wide_as_columns(known, tmp_path, columns, inches):
    figure = iqattack.plot(known, columns=columns, height=2.0, out=tmp_path / "f.png")
    assert figure.get_size_inches().tolist() == [inches, 2.0]
    assert Image.open(tmp_path / "f.png").size == (round(inches * 300), 600)


def test_nothing_of_matplotlib_is_changed(known, tmp_path):
    program = f"""
import sys, matplotlib as mpl, iqattack
mpl.use("svg"); before = dict(mpl.rcParams)
iqattack.plot({str(known.folder)!r}, out={str(tmp_path / "f.pdf")!r})
assert dict(mpl.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_style_goes_first(known, tmp_path):
    style = tmp_path / "own.mplstyle"
    style.write_text("axes.prop_cycle: cycler('color', ['ff0000'])\nbackend: tkagg\n")
    figure = iqattack.plot(known, style=style)
    assert to_rgb(figure.axes[0].get_lines()[0].get_color()) == (1.0, 0.0, 0.0)
    plain = iqattack.plot(known).axes[0].get_lines()[0].get_color()
    assert plain == COLOURS[0]


@pytest.mark.parametrize("text", ["font.size: nine\n", "no.such: 1\n", "font.size 9\n", "\xff\xfe"])
def test_a_style_that_is_none(known, tmp_path, text, caplog):
    style = tmp_path / "own.mplstyle"
    style.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"own\.mplstyle: is not a matplotlib style \(") as caught:
        iqattack.plot(known, style=style)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        iqattack.plot(known, style=tmp_path / "gone.mplstyle")


def test_neighbouring_colours_differ_in_grey():
    def grey(colour):
        return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))

    around = zip(COLOURS, (*COLOURS[1:], COLOURS[0]), strict=True)
    assert min(abs(grey(a) - grey(b)) for a, b in around) > 0.1


# -- what cannot be drawn -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"kind": "gain-query"},
            r"unknown kind 'gain-query': did you mean 'gain-queries'\? available: ",
        ),
        ({"columns": 3}, "columns 3: expected 1 or 2"),
        ({"height": 0.0}, r"height 0\.0: expected 0\.5 to 24 inches"),
        ({"height": float("nan")}, "height nan: expected"),
        ({"out": Path("figure")}, "figure: has no suffix; expected one of .pdf"),
        ({"out": Path("figure.jpg")}, r"figure\.jpg: has the suffix \.jpg; expected one of"),
        ({"out": Path("a.pdf"), "data": Path("a.pdf")}, "is given for both figure and data"),
        ({"visibility": "jod"}, "visibility jod applies to kind ssim"),
        ({"kind": "ssim", "visibility": "flip"}, "unknown visibility 'flip'"),
        ({"boundaries": (0.2,)}, "boundary applies to kind crossing"),
        ({"kind": "crossing", "boundaries": (1.5,)}, r"boundary 1\.5: expected a fraction"),
        ({"kind": "crossing", "boundaries": (float("nan"),)}, "boundary nan: expected"),
    ],
)
def test_what_cannot_be_drawn(given, message):
    with pytest.raises(InputError, match=message):
        Request(**given)


def test_files_that_cannot_be_written(known, tmp_path):
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(InputError, match=r"folder\.pdf: is a folder, expected a file"):
        iqattack.plot(known, out=tmp_path / "folder.pdf")
    with pytest.raises(InputError, match=r"f\.pdf: cannot be written .*--out"):
        iqattack.plot(known, out=tmp_path / "gone" / "f.pdf")
    with pytest.raises(InputError, match=r"d\.csv: cannot be written .*--data"):
        iqattack.plot(known, data=tmp_path / "gone" / "d.csv")
    assert not list(tmp_path.glob("*.tmp"))


def test_runs_that_cannot_be_drawn(known, tmp_path):
    with pytest.raises(RunError, match="no such run"):
        iqattack.plot(tmp_path / "gone")
    with pytest.raises(RunError, match=r"no run\.toml"):
        iqattack.plot(tmp_path)
    with pytest.raises(InputError, match="is the same run as"):
        iqattack.plot([known, known.folder])
    with pytest.raises(InputError, match="no run to plot"):
        iqattack.plot([])
    (tmp_path / "audit.toml").write_text("")
    with pytest.raises(InputError, match="is an audit without a run yet"):
        iqattack.plot(tmp_path)


def test_runs_whose_images_share_a_budget(tmp_path):
    model = iqattack.wrap(brightness, name="b", score_range=(0.0, 255.0), lower_better=False)
    run = iqattack.attack(
        photos(tmp_path / "p", (90, 100, 110)),
        model,
        attack="noise",
        constraint="linf:5",
        objective="srocc",
        budget_total=30,
        check=False,
        out=tmp_path / "run",
    )
    for kind in ("gain-queries", "crossing"):
        with pytest.raises(
            RunError, match=f"share a budget of 30 queries.* {kind} needs one budget"
        ):
            iqattack.plot(run, kind)
    assert len(iqattack.plot(run, "scatter").axes) == 1


def test_without_matplotlib(known, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)

    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "matplotlib":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    with pytest.raises(InputError, match=r"needs matplotlib.* pip install 'iqattack\[plot\]'"):
        iqattack.plot(known)


def test_pgf_needs_latex(known, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"f\.pgf: needs LaTeX .*use \.pdf"):
        iqattack.plot(known, out=tmp_path / "f.pgf")
    assert not list(tmp_path.iterdir())


def test_all_runs_of_an_audit(known, tmp_path):
    (tmp_path / "audit.toml").write_text("")
    for name in ("02-b", "01-a"):
        ramped(tmp_path / "runs", name)
        (tmp_path / "runs" / f"photos-{name}").rename(tmp_path / f"photos-{name}")
    figure = iqattack.plot(tmp_path, data=tmp_path / "d.csv")
    assert len(figure.axes[0].get_lines()) == 2
    names = list(dict.fromkeys(row["run"] for row in rows(tmp_path / "d.csv")))
    assert [Path(name).name for name in names] == ["01-a", "02-b"]


def test_a_notebook_shows_a_figure(known):
    figure = iqattack.plot(known)
    assert isinstance(figure, PaperFigure)
    png = figure._repr_png_()
    assert png.startswith(b"\x89PNG")


# -- the command ----------------------------------------------------------------------------------


def test_the_command(two, tmp_path, monkeypatch, capsys):
    from iqattack.cli import main  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    folders = [str(run.folder) for run in two]
    status = main(
        ["plot", *folders, "--label", "one", "--label", "two", "--out", "f.pdf", "--data", "d.csv"]
    )
    said = capsys.readouterr()
    assert status == 0
    assert said.out == "the figure       f.pdf\nits numbers      d.csv\n"
    assert {row["label"] for row in rows(tmp_path / "d.csv")} == {"one", "two"}
    for wrong, message in (
        (["--kind", "pie"], "unknown kind 'pie'"),
        (["--out", "figure"], "has no suffix"),
        (["--out", "gone/f.pdf"], r"cannot be written"),
    ):
        given = wrong if "--out" in wrong else [*wrong, "--out", "g.pdf"]
        assert main(["plot", folders[0], *given]) == 2
        errors = capsys.readouterr().err.splitlines()
        plain = [line for line in errors if not line.startswith("{")]
        assert len(plain) == 1
        assert re.match(f"error: .*{message}", plain[0])
    assert main(["plot", folders[0], "--data", "alone.csv"]) == 0
    assert capsys.readouterr().out == "the numbers      alone.csv\n"
    assert len(rows(tmp_path / "alone.csv")) > 1
    assert main(["plot", folders[0]]) == 2
    assert "give --out FILE.pdf, --data FILE.csv, or both" in capsys.readouterr().err
    assert main(["plot", "gone", "--out", "g.pdf"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert not Path("g.pdf").exists()
