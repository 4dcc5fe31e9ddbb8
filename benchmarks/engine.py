"""What the engine costs: queries per second of a whole run over those of the bare model.

    python benchmarks/engine.py [--images 24] [--queries 2000] [--threads 2]

In one process and in turn, second by second: the run, and the bare model on the same images at its
best batch size, whose time the run is not charged for. The machine is shared and its speed drifts,
so only that ratio counts. Logs are in memory. Writes docs/engine.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import torch

from common import ROOT, cnniqa, dev_images, machine, write_doc
from iqattack.attacks import load_attack
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome, Progress
from iqattack.images import ImageSet, read_image
from iqattack.models import Scorer
from iqattack.objectives import parse_objective

SIZES = (1, 2, 4, 8, 16)
RUN_S, BARE_S = 1.0, 0.5  # turns of the run and of the bare model


@dataclass
class Bare:
    """The model alone on the images of a stack, in batches of one size."""

    scorer: Scorer
    stack: torch.Tensor
    batch: int
    images: int = 0
    seconds: float = 0.0
    _last: float = field(default_factory=time.perf_counter)

    def turn(self, seconds: float = BARE_S) -> None:
        """Score for that long."""
        started = time.perf_counter()
        until = started + seconds
        while time.perf_counter() < until:
            first = self.images % max(1, len(self.stack) - self.batch + 1)
            self.images += len(self.scorer(self.stack[first : first + self.batch]))
        self._last = time.perf_counter()
        self.seconds += self._last - started

    def take_turns(self, _state: Progress) -> None:
        """Called by the run after every batch."""
        if time.perf_counter() - self._last > RUN_S:
            self.turn()

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def ratio(bare: Bare, images: ImageSet, attack: str, queries: int) -> str:
    """One run and the bare model in turns, as a line of text."""
    engine = Engine.in_process(
        bare.scorer,
        load_attack(attack),
        parse_constraint("jnd:0.38"),
        parse_objective("rank"),
        queries=queries,
        progress=bare.take_turns,
    )
    started = time.perf_counter()
    done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
    rate = done / (time.perf_counter() - started - bare.seconds)
    return f"{attack}: {rate:.0f} queries/s, bare {bare.rate:.0f}/s, **{rate / bare.rate:.3f}**"


def main() -> None:
    """Print the ratio per attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--attacks", nargs="+", default=["score-boundary", "surfree", "noise"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scorer, images = cnniqa(), dev_images().limit(options.images)
    stack = torch.stack([read_image(entry.path).pixels for entry in images])
    print(machine())
    trials = [Bare(scorer, stack, size) for size in SIZES]
    for trial in trials * 3:
        trial.turn()
    best = max(trials, key=lambda trial: trial.rate)
    tried = ", ".join(f"{trial.rate:.0f}/s in batches of {trial.batch}" for trial in trials)
    lines = [f"bare model: {tried}"]
    print(lines[0])
    for attack in options.attacks:
        lines.append(ratio(Bare(scorer, stack, best.batch), images, attack, options.queries))
        print(lines[-1], flush=True)
    command = (
        f"python benchmarks/engine.py --images {options.images} --queries {options.queries} "
        f"--threads {options.threads}"
    )
    write_doc(
        ROOT / "docs" / "engine.md",
        "What the engine costs",
        command,
        "Queries per second of a whole run over images per second of the bare model, which take "
        "turns in one process.\n\n- " + "\n- ".join(lines),
    )


if __name__ == "__main__":
    main()
