"""Attacks beside an independent implementation of them: the same images, model, box and budget.

    python benchmarks/parity.py [--queries 2000] [--limit 24] [--attacks ran,nes,square]

CNNIQA, `rank`, `linf:3`, seed 0. Fails where a mean gain is more than 20 % away.
"""

from __future__ import annotations

import argparse
import sys

import torch

from common import cnniqa, dev_images, machine, markdown, measure
from iqattack.attacks import load_attack

# Mean gain in points of 100 and SROCC of clean and attacked scores, at 2,000 queries: measured by
# us with other people's code on these images.
REFERENCE = {"ran": (15.5, 0.30), "nes": (16.6, 0.25), "square": (13.4, 0.39)}
TOLERANCE = 0.2


def main() -> None:
    """Print the table; exit status 1 where a gain is too far from the reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--attacks", default=",".join(REFERENCE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, images = cnniqa(), dev_images().limit(options.limit)
    print(machine())
    rows, missed = [], []
    for spec in options.attacks.split(","):
        found = measure(
            spec, model, images, load_attack(spec), constraint="linf:3", queries=options.queries
        )
        gain, srocc = REFERENCE.get(spec, (float("nan"), float("nan")))
        ratio = 100.0 * float(found.gain.mean()) / gain
        if abs(ratio - 1.0) > TOLERANCE:
            missed.append(spec)
        rows.append(
            found.row()
            | {"reference gain": f"{gain}", "reference SROCC": f"{srocc}", "ratio": f"{ratio:.2f}"}
        )
        print(" | ".join(rows[-1].values()), flush=True)
    print(f"\n{markdown(rows)}")
    if missed:
        print(f"more than {TOLERANCE:.0%} from the reference: {', '.join(missed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
