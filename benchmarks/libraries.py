"""Our attacks compared with foolbox and ART: one model, one boundary, equal numbers of queries.

    python benchmarks/libraries.py [--queries 1000] [--limit 24] [--boundary 0.1] [--attacks ...]

A query is an image that the model scores, counted at the model. Needs `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import (
    ROOT,
    Floats,
    dev_images,
    machine,
    markdown,
    measure,
    shared_data,
    with_interval,
    write_doc,
)
from iqattack.attacks import Search, Task, load_attack
from iqattack.attacks.decision_based.boundary import HALVINGS
from iqattack.attacks.shared.start import start_across, towards_image
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome
from iqattack.images import ImageSet
from iqattack.models.base import Scores
from iqattack.models.checked import Model
from iqattack.models.cnniqa import Cnniqa
from iqattack.objectives import ScoreBoundary, parse_objective

STARTS = 200  # candidates tried to cross the boundary: what our attacks take by default
RMS = 3.29  # ε of square:norm=l2
PEAK = 3.0  # of a DCT direction of SimBA, grey levels
EPSILON = 3.0  # of square, grey levels
ENDLESS = 10**6  # iterations: the budget ends the search, not the library


class SpentError(Exception):
    """The model was queried more often than the budget allows."""


class TwoClass(nn.Module):
    """A score as a classifier: class 1 beyond the boundary, else 0; it counts its queries.

    budget: images that it scores; rounds: whether they are rounded to 8 bits, as for a model that
    reads files, or floats; started: whether the queries of the start are already spent.
    closest: the crossing image of least L2 distance so far, (3, H, W) in [0, 1].
    first: number of the query that crossed first, NaN for none; claimed: see `claims`.
    """

    def __init__(
        self, model: Cnniqa, item: Outcome, budget: int, rounds: bool, started: bool
    ) -> None:
        super().__init__()
        self.target = item.target
        self.goal = item.target.boundary or ScoreBoundary(item.target.reach, 1.0)
        self.clean = item.clean.float() / 255.0
        self.rounds, self.budget, self.claimed = rounds, budget, 0
        self.start = self.spent = item.queries - 1 if started else 0
        self.closest: Tensor | None = None
        self.distance = self.first = float("nan")
        self._network = model.network

    @torch.inference_mode()
    def gains(self, images: Tensor) -> Tensor:
        """Gains (N,) float64 of (N, 3, H, W) in [0, 1]; not counted."""
        grey = images.float() * 255.0
        whole = grey.round()  # undo float32 errors of whole grey levels
        grey = torch.where((grey - whole).abs() < 1e-4, whole, grey)
        raw = [self._network(image[None]).double() for image in grey]
        return self.target.gain(torch.cat(raw))

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, 2), linear in the score, of (N, 3, H, W) in [0, 1]."""
        seen = images.detach().nan_to_num()
        left = self.budget - self.spent
        seen = (rounded(seen) if self.rounds else seen)[:left]
        gains = self.gains(seen) if len(seen) else torch.zeros(0)
        # ART's square in L2 may divide by 0: an image of NaN is taken as black, and never crosses.
        gains = torch.where(images[:left].isfinite().flatten(1).all(1), gains, -1.0)
        for image, gain in zip(seen, gains.tolist(), strict=True):
            self.spent += 1
            if self.goal.crossed(gain):
                distance = float(torch.linalg.vector_norm(image - self.clean))
                if self.closest is None:
                    self.first = self.spent
                if self.closest is None or distance < self.distance:
                    self.closest, self.distance = image.clone(), distance
        if len(images) > left:
            raise SpentError
        # Rounding to float32 must not change the class.
        beyond = ((gains - self.goal.gain) / 2.0).clamp(-0.5, 0.5)
        beyond = torch.where(
            self.goal.crossed(gains), beyond.clamp(min=1e-6), beyond.clamp(max=-1e-6)
        )
        return torch.stack([0.5 - beyond, 0.5 + beyond], 1).float()

    def numpy(self, images: Any) -> Any:
        """The same on arrays."""
        return self(torch.from_numpy(images)).numpy()

    def distances(self) -> tuple[float, float]:
        """RMS in grey levels of the closest image, raw and in 8 bits; inf where none crosses."""
        if self.closest is None:
            return np.inf, np.inf
        pixels = rounded(self.closest)
        raw, saved = (
            255.0 * float((image - self.clean).square().mean().sqrt())
            for image in (self.closest, pixels)
        )
        return raw, saved if self.goal.crossed(float(self.gains(pixels[None])[0])) else np.inf

    def claims(self, owner: Any, method: str, each: int = 0) -> None:
        """Count as claimed `each` per call of a method, or what is scored during it where 0."""
        inner = getattr(owner, method)

        def counted(*args: Any, **options: Any) -> Any:
            before = self.spent
            try:
                return inner(*args, **options)
            finally:
                self.claimed += each or self.spent - before

        setattr(owner, method, counted)


def rounded(images: Tensor) -> Tensor:
    """Images in [0, 1] as they are after saving in 8 bits."""
    return (images * 255.0).round().clamp(0.0, 255.0) / 255.0


Library = Callable[[TwoClass, Tensor], object]  # runs an attack from a start, (3, H, W) in [0, 1]


def foolbox(name: str, model: TwoClass, start: Tensor) -> None:
    """`hop-skip-jump` or `boundary`; claimed are the probes of gradients, or the steps."""
    import foolbox as fb  # noqa: PLC0415

    box = fb.PyTorchModel(model.eval(), bounds=(0.0, 1.0), device="cpu")
    if name == "hop-skip-jump":
        attack = fb.attacks.HopSkipJumpAttack(steps=ENDLESS)
        model.claims(attack, "approximate_gradients")
    else:
        attack = fb.attacks.BoundaryAttack(steps=ENDLESS)
    first = model.spent + 1  # of the starting point
    try:
        attack(
            box, model.clean[None], torch.tensor([0]), epsilons=None, starting_points=start[None]
        )
    finally:
        if name == "boundary":  # every tenth step asks twice
            model.claimed = round((model.spent - first) * 10 / 11)


def art(name: str, model: TwoClass, start: Tensor) -> None:
    """ART; claimed are `max_eval` probes of HopSkipJump, else iterations (of `sample_size`)."""
    from art.attacks import evasion  # noqa: PLC0415
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # noqa: PLC0415

    box = BlackBoxClassifierNeuralNetwork(
        model.numpy, tuple(model.clean.shape), 2, channels_first=True, clip_values=(0.0, 1.0)
    )
    x, options = model.clean[None].numpy(), {"verbose": False}
    iterations = model.budget // 3  # of square, so that its schedule fits: it asks three times each
    if name == "hop-skip-jump":
        attack = evasion.HopSkipJump(box, targeted=False, max_iter=ENDLESS, **options)
        model.claims(attack, "_compute_update")
    elif name == "boundary":
        attack = evasion.BoundaryAttack(box, targeted=False, max_iter=ENDLESS, **options)
        model.claims(attack, "_best_adv", attack.sample_size)
    elif name in {"square", "square:norm=l2"}:
        l2 = name != "square"
        attack = evasion.SquareAttack(
            box,
            norm=2 if l2 else np.inf,
            eps=RMS * x.size**0.5 / 255.0 if l2 else EPSILON / 255.0,
            p_init=0.1 if l2 else 0.05,
            max_iter=iterations,
            **options,
        )
        model.claims(attack, "_get_percentage_of_elements", 1)
    else:
        side = x.shape[-1]
        dct = {"epsilon": PEAK / 255.0 * side / 2, "freq_dim": side // 8, "stride": side // 8}
        of_basis = {"attack": "px", "epsilon": 1.0} if "pixel" in name else {"attack": "dct"} | dct
        attack = evasion.SimBA(box, max_iter=model.budget, **of_basis, **options)
    # generate() may write into what it is given.
    initial = {"x_adv_init": start[None].numpy().copy()} if name in DECISION else {}
    try:
        attack.generate(x.copy(), **initial)
    finally:
        if name.startswith("simba"):  # two each, after the clean image
            model.claimed = model.spent // 2


DECISION = ("hop-skip-jump", "boundary")
# Our attack, its box, and the options that match theirs.
OURS = {
    "hop-skip-jump": ("hop-skip-jump", "none"),
    "boundary": ("boundary", "none"),
    "square": ("square", f"linf:{EPSILON:g}"),
    "square:norm=l2": ("square:norm=l2,p_init=0.1", "none"),
    "simba": (f"simba:step={PEAK / 127.5:.6f}", "none"),
    "simba:basis=pixel": ("simba:basis=pixel", "none"),
}


@dataclass(frozen=True)
class Result:
    """One implementation on a set, an entry per image.

    floats: RMS distance of the closest crossing image as the search holds it; saved: after rounding
    to 8 bits; inf where none crosses. first: queries to the first crossing, the budget for none.
    real: queries made, those of the start included; own: without those of a start handed over.
    seconds: processor time, which does not depend on other programs.
    """

    label: str
    floats: Floats
    saved: Floats
    first: Floats
    real: Floats
    own: Floats
    claimed: Floats
    seconds: float

    def row(self, ours: Result, decision: bool) -> dict[str, str]:
        """Text; ratios are ours over theirs."""
        crossed, kept = np.isfinite(self.floats), np.isfinite(self.saved)
        lost = (crossed & ~kept).sum() / max(crossed.sum(), 1)
        row = {
            "": self.label,
            "crosses, 8 bits": f"{kept.sum()} of {len(kept)}",
            "lost in rounding": f"{lost:.0%}",
        }
        if decision:
            row |= {
                "RMS, 8 bits": median(self.saved),
                "RMS before rounding": median(self.floats),
                "ours/theirs": ratio(ours.saved, self.saved),
                "ours/theirs before rounding": ratio(ours.saved, self.floats),
            }
        else:
            row |= {"queries to cross": f"{np.median(self.first):.0f}"}
            row |= {"ours/theirs": ratio(ours.first, self.first)}
        own, claimed = self.own.sum(), self.claimed.sum()
        return row | {
            "queries": f"{self.real.mean():.0f}",
            "its own": f"{self.own.mean():.0f}",
            "claimed": f"{self.claimed.mean():.0f}",
            "not counted": f"{1.0 - claimed / max(own, 1.0):.0%}",
            "CPU ms a query": f"{1000.0 * self.seconds / max(own, 1.0):.1f}",
        }


def median(values: Floats) -> str:
    """Of the finite ones."""
    finite = values[np.isfinite(values)]
    return f"{np.median(finite):.3g}" if len(finite) else "–"


def ratio(ours: Floats, theirs: Floats) -> str:
    """Geometric mean over images where both succeed, with its 95 % bootstrap interval."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    if ours is theirs or not both.any():
        return "–"
    logs = np.log(ours[both] / theirs[both])
    interval = with_interval(".2f", lambda x: float(np.exp(np.mean(x))), logs)
    return f"{interval} ({both.sum()})"


class Counted(Model):
    """A model that counts the images it scores."""

    count = 0

    def __call__(self, images: Tensor) -> Scores:
        """Scores (N,)."""
        self.count += len(images)
        return super().__call__(images)


def engine_run(name: str, model: Cnniqa, images: ImageSet, fraction: float, queries: int) -> Result:
    """Our attack, run by the engine; claimed are the queries that the engine counts."""
    attack, box = OURS[name]
    counted = Counted(model, model.name, model.score_range, model.lower_better, model.min_size)
    began = time.process_time()
    found = measure(
        attack,
        counted,
        images,
        load_attack(attack),
        constraint=box,
        queries=queries,
        objective=f"rank:{fraction}",
        boundary=fraction,
    )
    seconds = time.process_time() - began
    distance = np.where(np.isnan(found.first), np.inf, found.rms)
    real = np.full(len(images), counted.count / len(images))
    first = np.where(np.isnan(found.first), queries, found.first)
    return Result("iqattack", distance, distance, first, real, real, found.queries, seconds)


def starting_points(
    name: str, model: Cnniqa, images: ImageSet, fraction: float, queries: int
) -> list[Outcome]:
    """Our starting points, at the same seed: crossing texture, moved nearer for `boundary`."""

    def start(task: Task) -> Search:
        goal = task.boundary or ScoreBoundary(task.reach, fraction)
        x = yield from start_across(task, goal, STARTS if name in DECISION else 0)
        if x is not None and name == "boundary":
            yield from towards_image(task, x, goal, HALVINGS)

    aim = parse_objective(f"rank:{fraction}")
    engine = Engine.in_process(model, start, parse_constraint("none"), aim, queries=queries)
    found = {item.entry.name: item for item in engine.run(images) if isinstance(item, Outcome)}
    return [found[entry.name] for entry in images]


def library_run(
    label: str, run: Library, starts: Sequence[Outcome], boxes: Sequence[TwoClass], decision: bool
) -> Result:
    """A library's attack, image by image, until the budget is spent; the start counts as for ours.

    If no start crosses, a decision-based attack fails, as ours does.
    """
    began = time.process_time()
    for item, box in zip(starts, boxes, strict=True):
        if decision and not box.goal.crossed(item.gain):
            continue
        # These libraries draw from the global generators.
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        with suppress(SpentError):
            run(box, item.adversarial.float() / 255.0)
    seconds = time.process_time() - began
    distances = np.array([box.distances() for box in boxes])
    return Result(
        label,
        distances[:, 0],
        distances[:, 1],
        np.array([box.budget if np.isnan(box.first) else box.first for box in boxes]),
        np.array([float(box.spent) for box in boxes]),
        np.array([float(box.spent - box.start) for box in boxes]),
        np.array([float(box.claimed) for box in boxes]),
        seconds,
    )


NOTES = """This page compares our attacks with those of foolbox and ART. A query is an image that
the model scores, counted at the model. All implementations get {queries} queries for each of
{images} images. The model is CNNIQA, the boundary at {boundary} of the way to the far end of its
range. The libraries' searches end with the budget, and their result is the closest crossing image
scored so far, at least as good as the one that they would return. Distances are RMS over pixel
values, in grey levels, as medians over the images that cross, which differ from row to row. Ratios
of distances are geometric means over images where both cross (their number in brackets), with 95 %
bootstrap intervals; below 1, ours is better.

Decision-based searches begin at the same point, and each pays for the queries that found it. The
libraries score float images; in the rows "8-bit model" each is rounded first, as for a model that
reads files. "Claimed" is the count by the library's own settings, because none of them reports its
queries: probes of gradient estimates (hop-skip-jump), steps (foolbox's boundary), iterations ×
`sample_size` (ART's) and iterations (square, simba). For ours it is the engine's count. "Not
counted" is a share of a search's own queries, without those of its starting point. If no starting
point crosses, all fail.

Score-based searches have the same ε or step: for square, {epsilon:g} grey levels, or in L2 an RMS
of {rms}; for simba, a DCT direction with a peak of {peak:g} grey levels, or pixels at the ends of
0..255, without a box. ART's square gets our p and a third of the budget as iterations, so that its
schedule fits. If the paper's start gains nothing in L2, ART continues from the clean image, ours
from that start; ART's change may become NaN, which crosses nothing. Images that do not cross count
as the whole budget in "queries to cross" and in its ratio; an image that crosses with neither draws
the ratio towards 1. After crossing, our search continues to shorten the change; theirs end."""


def main() -> None:
    """Print the tables and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--boundary", type=float, default=0.1)
    parser.add_argument(
        "--attacks",
        default="hop-skip-jump boundary square square:norm=l2 simba simba:basis=pixel",
        help="separated by spaces",
    )
    parser.add_argument("--dry", action="store_true", help="writes nothing")
    options = parser.parse_args()
    if not all(find_spec(name) for name in ("foolbox", "art")):
        print("skipped: foolbox and ART are not installed: pip install -e '.[bench]'")
        sys.exit(0)
    torch.set_num_threads(1)
    model = Cnniqa(shared_data() / "models" / "cnniqa_live.pth")
    images = dev_images().limit(options.limit)
    fraction, queries = options.boundary, options.queries
    print(machine())
    body = NOTES.format(
        queries=queries, images=len(images), boundary=fraction, epsilon=EPSILON, rms=RMS, peak=PEAK
    )
    for name in options.attacks.split():
        decision = name in DECISION
        results = [engine_run(name, model, images, fraction, queries)]
        starts = starting_points(name, model, images, fraction, queries)
        libraries = {"foolbox": foolbox, "ART": art} if decision else {"ART": art}
        for label, library in libraries.items():
            for rounds in (False, True) if decision else (False,):
                boxes = [TwoClass(model, item, queries, rounds, decision) for item in starts]
                label_ = f"{label}, 8-bit model" if rounds else label
                results.append(library_run(label_, partial(library, name), starts, boxes, decision))
        table = markdown([result.row(results[0], decision) for result in results])
        print(f"\n{name}\n{table}", flush=True)
        body += f"\n\n## {name}\n\n{table}"
    if not options.dry:
        command = f"python benchmarks/libraries.py --queries {queries} --limit {len(images)}"
        write_doc(ROOT / "docs" / "libraries.md", "Comparison with foolbox and ART", command, body)


if __name__ == "__main__":
    main()
