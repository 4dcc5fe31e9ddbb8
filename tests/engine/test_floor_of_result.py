"""A floor of the result alone: the search is free, and what it found is brought back and scored."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import iqattack
from iqattack.constraints import Floor, Linf, parse_floor
from iqattack.constraints import floor as floor_module
from iqattack.constraints import jod as jod_module
from iqattack.engine import Engine, Interrupted, Outcome, QueryLog
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import wrap
from iqattack.objectives import parse_objective
from iqattack.perception import linf
from iqattack.runs.how import How, Needed, Setup
from iqattack.runs.settings import Record, Settings

pytestmark = pytest.mark.usefixtures("few_resamples")


@dataclass(frozen=True)
class NoFarther(Floor):
    """Stands in for JOD: no value of the result may change by more than so many levels."""

    levels: float
    spec: str = "stand-in"

    @property
    def of_result(self) -> bool:
        """True."""
        return True

    def satisfied(self, image, candidate) -> bool:
        """See `Floor`."""
        return float(linf(image, candidate)) <= self.levels


@dataclass(frozen=True)
class Only(NoFarther):
    """Allows a change of exactly so many levels, or none."""

    def satisfied(self, image, candidate) -> bool:
        """See `Floor`."""
        return float(linf(image, candidate)) in (0.0, self.levels)


def brightness(calls: list[int]):
    """A model that is fond of light, and counts its pictures."""

    def score(images):
        calls.append(len(images))
        return images.double().mean((1, 2, 3))

    return wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)


def brighter(task):
    """In steps of one level, as long as it may."""
    step = 0
    while True:
        step += 1
        yield task.image[None] + step


def run(images: ImageSet, floor: Floor | None, queries: int, log: QueryLog) -> tuple[Outcome, int]:
    calls: list[int] = []
    engine = Engine.in_process(
        brightness(calls), brighter, Linf(30), parse_objective("up"),
        queries=queries, floor=floor, log=log, batch=1,
    )  # fmt: skip
    (outcome,) = [item for item in engine.run(images) if isinstance(item, Outcome)]
    return outcome, sum(calls)


@pytest.mark.parametrize("queries", [3, 6, 12])
def test_the_result_is_brought_back_and_scored_within_the_budget(images, queries) -> None:
    with QueryLog() as log:
        free, _ = run(images.limit(1), None, queries, log)
    with QueryLog() as log:
        held, asked = run(images.limit(1), NoFarther(4), queries, log)
        rows = log.rows(held.entry.name)
    assert held.queries == asked == len(rows) <= queries
    reached = float(linf(free.clean, free.adversarial))
    # One query is kept for the result, so the search goes a step less far.
    assert float(linf(held.clean, held.adversarial)) == min(4.0, reached - 1)
    assert held.score_adv == held.adversarial.double().mean()
    assert held.gain == pytest.approx((held.score_adv - held.score_clean) / 255)


def test_a_resumed_search_asks_nothing_again(images) -> None:
    with QueryLog() as log:
        first, _ = run(images.limit(1), NoFarther(2), 8, log)
        again, asked = run(images.limit(1), NoFarther(2), 8, log)
    assert asked == 0
    assert torch.equal(again.adversarial, first.adversarial)
    assert again.score_adv == first.score_adv


def test_an_earlier_image_that_is_above_the_floor_is_not_lost(images) -> None:
    """One query more goes farther than the floor allows, and what that leaves gains nothing."""

    def jump(task):
        for step in (1, 2, 30):
            yield task.image[None] + step

    reached = {}
    for queries in (4, 5):
        with QueryLog() as log:
            engine = Engine.in_process(
                brightness([]), jump, Linf(30), parse_objective("up"), queries=queries, log=log,
                batch=1, floor=Only(2),
            )  # fmt: skip
            (outcome,) = [i for i in engine.run(images.limit(1)) if isinstance(i, Outcome)]
        reached[queries] = outcome.gain
        assert outcome.queries <= queries
        assert float(linf(outcome.clean, outcome.adversarial)) == 2.0
    assert reached[5] == reached[4] > 0.0


def test_nothing_is_left_of_what_is_seen_at_once(images) -> None:
    with QueryLog() as log:
        outcome, _ = run(images.limit(1), NoFarther(0), 8, log)
    assert torch.equal(outcome.adversarial, outcome.clean)
    assert outcome.gain == 0.0
    assert outcome.score_adv == outcome.score_clean


def test_jod_of_a_run_is_above_its_floor(tmp_path) -> None:
    if find_spec("pycvvdp") is None:  # not imported, as that leaves its folder in sys.path
        pytest.skip("ColorVideoVDP is not installed: the extra 'visibility'")
    from iqattack.samples import write_samples  # noqa: PLC0415 - only where it is needed

    write_samples(tmp_path / "photos")
    model = iqattack.load_model("builtin")
    made = iqattack.attack(
        str(tmp_path / "photos"), model, attack="noise", constraint="linf:20", floor="jod:9.5",
        queries=12, limit=2, check=False, out=tmp_path / "run",
    )  # fmt: skip
    checked = iqattack.verify(made, model)
    assert checked.ok, checked
    assert max(result.queries for result in made.results) <= 12
    floor = parse_floor("jod:9.5")
    for result in made.results:
        clean = made.read_clean(result.path)
        attacked = iqattack.images.read_image(made.images / result.png_name).pixels
        assert floor.satisfied(clean, attacked)
    assert max(result.gain or 0.0 for result in made.results) > 0.0
    with pytest.raises(InputError, match="queries 2: expected at least 3 with floor"):
        iqattack.attack(
            str(tmp_path / "photos"), model, floor="jod:9.5", queries=2, out=tmp_path / "few"
        )
    with pytest.raises(iqattack.errors.RunError, match="keeps"):
        iqattack.evaluate(made, queries=5)


def test_a_run_keeps_the_scales_that_it_found(tmp_path, monkeypatch) -> None:
    """Another machine finds a little different ones: a run goes on with its own."""
    if find_spec("pycvvdp") is None:  # not imported, as that leaves its folder in sys.path
        pytest.skip("ColorVideoVDP is not installed: the extra 'visibility'")
    from iqattack.constraints import jod  # noqa: PLC0415
    from iqattack.samples import write_samples  # noqa: PLC0415

    photos = str(tmp_path / "photos")
    write_samples(Path(photos))
    model = iqattack.load_model("builtin")
    given: dict[str, Any] = {
        "attack": "nes", "constraint": "jod:9.8", "queries": 30, "limit": 2, "check": False,
    }  # fmt: skip
    monkeypatch.setattr(jod, "scale_of", lambda *_: 2.0)
    whole = iqattack.attack(photos, model, out=tmp_path / "whole", **given)
    calls = count()
    stop = iqattack.Callbacks(stop=lambda: next(calls) > 12)
    with pytest.raises(Interrupted):
        iqattack.attack(photos, model, out=tmp_path / "cut", callbacks=stop, **given)
    monkeypatch.setattr(jod, "scale_of", lambda *_: 2.02)
    cut = iqattack.attack(photos, model, out=tmp_path / "cut", resume=True, **given)
    first = cut.results[0]
    assert {result.scale for result in whole.results} == {first.scale} == {2.0}
    png = (cut.images / first.png_name).read_bytes()
    assert png == (whole.images / first.png_name).read_bytes()
    assert iqattack.verify(whole, model).ok  # 2.02 is close enough
    monkeypatch.setattr(jod, "scale_of", lambda *_: 1.5)
    differences = iqattack.verify(whole, model).differences
    assert any("scale is 1.5, reported 2.0" in str(one) for one in differences)


def test_without_color_video_vdp_the_rest_of_a_run_is_verified(tmp_path, monkeypatch) -> None:
    from iqattack.constraints import floor  # noqa: PLC0415
    from iqattack.samples import write_samples  # noqa: PLC0415

    write_samples(tmp_path / "photos")
    model = iqattack.load_model("builtin")
    monkeypatch.setattr(floor.JodFloor, "satisfied", lambda *_: True)
    monkeypatch.setattr(floor, "metric", lambda: None)
    made = iqattack.attack(
        str(tmp_path / "photos"), model, attack="noise", floor="jod:9.5", queries=5, limit=1,
        check=False, out=tmp_path / "run",
    )  # fmt: skip

    def missing(*_: object) -> bool:
        raise InputError("JOD needs the package 'cvvdp'")

    monkeypatch.setattr(floor.JodFloor, "satisfied", missing)
    found = iqattack.verify(made, model)
    assert found.ok
    assert any("floor jod:9.5 is not checked: JOD needs" in note for note in found.notes)


MODEL = """
def score(images):
    return images.double().mean((1, 2, 3))

score.score_range, score.lower_better = (0.0, 255.0), False

def load():
    return score
"""
SPECS = {"constraint": {"constraint": "jod:9.8"}, "floor": {"floor": "jod:9.5"}}


@pytest.fixture
def without(monkeypatch):
    """ColorVideoVDP is there, in a way, until it is called: then it is not installed."""
    monkeypatch.setattr(jod_module, "scale_of", lambda *_: 2.0)
    monkeypatch.setattr(floor_module.JodFloor, "satisfied", lambda *_: True)
    for module in (jod_module, floor_module):
        monkeypatch.setattr(module, "metric", lambda: None)

    def remove() -> None:
        def missing() -> None:
            raise InputError("JOD needs the package 'cvvdp'")

        for module in (jod_module, floor_module):
            monkeypatch.setattr(module, "metric", missing)
        monkeypatch.setattr(jod_module, "scale_of", lambda *_: missing())
        monkeypatch.setattr(floor_module.JodFloor, "satisfied", lambda *_: missing())

    return remove


@pytest.mark.parametrize("how", [{}, {"workers": 2}], ids=["here", "workers"])
@pytest.mark.parametrize("needs", SPECS)
def test_a_finished_run_needs_no_color_video_vdp(images, tmp_path, without, needs, how) -> None:
    (tmp_path / "m.py").write_text(MODEL)
    model = f"{tmp_path / 'm.py'}:load"
    given = {"out": tmp_path / "run", "queries": 6, "attack": "noise", "check": False, "limit": 2}
    given |= SPECS[needs]
    made = iqattack.attack(images, model, **given)
    without()
    again = iqattack.attack(images, model, resume=True, **given, **how)
    assert again.results == made.results
    (made.images / made.results[0].png_name).unlink()  # its scale is in the log
    if needs == "constraint" and not how:
        again = iqattack.attack(images, model, resume=True, **given)
        assert (again.images / made.results[0].png_name).is_file()
    elif needs == "floor":
        with pytest.raises(InputError, match=r"^JOD needs the package 'cvvdp'$"):
            iqattack.attack(images, model, resume=True, **given, **how)


@pytest.mark.parametrize("cut", [0, 8, None], ids=["nothing", "some", "new"])
@pytest.mark.parametrize("needs", SPECS)
def test_a_run_that_needs_color_video_vdp_asks_nothing(
    images, tmp_path, without, needs, cut
) -> None:
    """Whether it is new, scored nothing yet, or has images whose scale is not known."""
    asked: list[int] = []
    given = {"out": tmp_path / "run", "queries": 6, "attack": "noise", "check": False}
    given |= {"batch": 1, **SPECS[needs]}
    model = brightness(asked)
    if cut is not None:
        calls = count()
        stop = iqattack.Callbacks(stop=lambda: next(calls) >= cut)
        with pytest.raises(Interrupted):
            iqattack.attack(images, model, callbacks=stop, **given)
    without()
    before = len(asked)
    assert bool(before) == bool(cut)
    with pytest.raises(InputError, match=r"^JOD needs the package 'cvvdp'$"):
        iqattack.attack(images, model, resume=True, **given)
    assert len(asked) == before
    assert (tmp_path / "run").exists() == (cut is not None)


def test_another_machine_is_asked_for_what_is_needed_there(images, tmp_path, without) -> None:
    settings = Settings(images=("x",), model="builtin", floor="jod:9.5")
    begun = Record.now(settings, iqattack.load_model("builtin"))
    setup = Setup(settings, "builtin", How(), begun=begun)
    without()
    with pytest.raises(InputError, match="JOD needs the package 'cvvdp'"):
        setup(lambda: False)
    replace(setup, needed=Needed(floor=False))(lambda: False)


def test_bad_floors_say_what_was_expected() -> None:
    with pytest.raises(InputError, match=r"floor 'jod:11': expected JOD between 5 and 10"):
        parse_floor("jod:11")
