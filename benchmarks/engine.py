"""What the engine costs: queries per second of a whole run over those of the bare model.

    python benchmarks/engine.py [--images 24] [--queries 1000]

In one process, in turn, several times: the bare model on the same images at its best batch size,
and a `score-boundary` run on disk-less logs. The machine is shared, so the ratio of each pair
counts and the median of the pairs is reported. Writes docs/engine.md.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from common import ROOT, cnniqa, dev_images, machine, write_doc
from iqattack.attacks import load_attack
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome
from iqattack.images import ImageSet, read_image
from iqattack.models import Scorer
from iqattack.objectives import parse_objective

SIZES = (1, 2, 4, 8, 16)


def bare(scorer: Scorer, stack: torch.Tensor, batch: int, seconds: float) -> float:
    """Images per second of the model alone, in batches of one size."""
    scorer(stack[:batch])
    started = time.perf_counter()
    done = 0
    while time.perf_counter() - started < seconds:
        first = done % max(1, len(stack) - batch + 1)
        done += len(scorer(stack[first : first + batch]))
    return done / (time.perf_counter() - started)


def run(scorer: Scorer, images: ImageSet, attack: str, queries: int) -> float:
    """Queries per second of a run, everything included."""
    engine = Engine(
        scorer,
        load_attack(attack),
        parse_constraint("jnd:0.38"),
        parse_objective("rank"),
        queries=queries,
    )
    started = time.perf_counter()
    done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
    return done / (time.perf_counter() - started)


def main() -> None:
    """Print the pairs and the median ratio per attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--attacks", nargs="+", default=["score-boundary", "surfree", "noise"])
    options = parser.parse_args()
    scorer, images = cnniqa(), dev_images().limit(options.images)
    stack = torch.stack([read_image(entry.path).pixels for entry in images])
    print(machine())
    rates = {size: bare(scorer, stack, size, 1.0) for size in SIZES}
    best = max(rates, key=lambda size: rates[size])
    lines = ["bare model: " + ", ".join(f"{r:.0f}/s in batches of {b}" for b, r in rates.items())]
    print(lines[0])
    for attack in options.attacks:
        ratios = []
        for _ in range(options.pairs):
            before = bare(scorer, stack, best, 3.0)
            queries = run(scorer, images, attack, options.queries)
            alone = (before + bare(scorer, stack, best, 3.0)) / 2
            ratios.append(queries / alone)
            lines.append(f"{attack}: {queries:.0f} queries/s, bare {alone:.0f}/s, {ratios[-1]:.3f}")
            print(lines[-1], flush=True)
        median = statistics.median(ratios)
        lines.append(f"**{attack}: median ratio {median:.3f} of {options.pairs} pairs**")
        print(lines[-1], flush=True)
    command = f"python benchmarks/engine.py --images {options.images} --queries {options.queries}"
    write_doc(
        ROOT / "docs" / "engine.md",
        "What the engine costs",
        command,
        "Queries per second of a whole run over images per second of the bare model.\n\n- "
        + "\n- ".join(lines),
    )


if __name__ == "__main__":
    main()
