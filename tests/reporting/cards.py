"""Cards made up for the tests of an audit's page."""

from iqattack.auditing import WORST, Card, Curve, Line, Value
from iqattack.auditing.card import CardImages, CardModel, RunRecord, Seen, SuiteRecord

SUITE = SuiteRecord(id="mine-v1", digest="5" * 64)


def line(constraint, queries, gain, *, attack=WORST, srocc=(0.5, 0.45, 0.6), images=20, best=None):
    """A line with intervals of a tenth around the gain."""
    value, low, high = srocc
    measures = {
        "gain": Value(value=gain, low=0.9 * gain, high=1.1 * gain),
        "srocc": Value(value=value, low=low, high=high),
    }
    return Line(
        attack=attack,
        constraint=constraint,
        queries=queries,
        images=images,
        measures=measures,
        best=best or {},
    )


def curve(constraint, end, *, attack=WORST, queries=(1, 10, 100)):
    """A curve that rises evenly with the logarithm of queries up to `end`."""
    gain = tuple(end * k / (len(queries) - 1) for k in range(len(queries)))
    return Curve(
        attack=attack,
        constraint=constraint,
        queries=queries,
        gain=gain,
        low=tuple(0.9 * value for value in gain),
        high=tuple(1.1 * value for value in gain),
    )


def run_record(attack="noise", constraint="linf:3", **changes):
    asked = {
        "folder": f"runs/{attack}-{constraint}".replace(":", "-"),
        "attack": attack,
        "constraint": constraint,
        "seed": 0,
        "results": "7" * 64,
        "queries": 2000,
        "noise": 0.0,
        "batch": 0.0,
        "verified": True,
    }
    return RunRecord(**asked | changes)


def card(*lines, name="model", runs=None, curves=(), images=(20, 20, 0), **changes):
    """A card of these lines, with a verified run."""
    count, attacked, partly = images
    made = {
        "suite": SUITE,
        "model": CardModel(name=name, score_range=(0.0, 100.0), lower_better=False, files={}),
        "images": CardImages(count=count, attacked=attacked, partly=partly, digest="6" * 64),
        "runs": (run_record(),) if runs is None else runs,
        "lines": lines,
        "curves": curves,
        "seen": (Seen(attack="noise", constraint="linf:3", seed=0, jod=9, jod_least=8, ssim=0.9),),
    }
    return Card(**made | changes)
