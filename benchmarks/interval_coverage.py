"""How often the 95 % bootstrap intervals contain the true value, by number of images.

    python benchmarks/interval_coverage.py     # two minutes; writes docs/interval-coverage.md

Samples of n images are drawn from populations whose mean or SROCC is known, and the package's own
functions compute the interval of each. No model is queried. The measured gains are those of
benchmarks/rows/strength.csv.xz.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cells import Row, chosen, column, read_rows
from common import ROOT, Floats, machine, markdown, rows_file
from iqattack.evaluation import mean_intervals, srocc
from iqattack.evaluation.bootstrap import bootstrap_draws, draws_interval
from iqattack.evaluation.correlation import correlation_draws

IMAGES = (3, 5, 12, 24, 100)
SAMPLES = 5_000  # of means
PAIRS = 1_000  # samples of SROCC, whose intervals take longer
CORRELATIONS = (0.0, 0.8)
MODEL, BOX, QUERIES = "cnniqa", "linf:3", 100
ATTACKS = ("filter-search", "square")  # whose measured gains are populations, too
PAGE = ROOT / "docs" / "interval-coverage.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


@dataclass(frozen=True)
class Population:
    """Gains of images: their true mean, and how samples of them are drawn."""

    name: str
    mean: float
    draw: Draw


@dataclass(frozen=True)
class Ends:
    """Both ends of the interval of each sample, (samples,), and the true value."""

    low: Floats
    high: Floats
    truth: float

    @property
    def covered(self) -> float:
        """The share of intervals that contain the true value."""
        return float(np.mean((self.low <= self.truth) & (self.truth <= self.high)))

    @property
    def below(self) -> float:
        """The share of intervals that lie below the true value."""
        return float(np.mean(self.high < self.truth))

    @property
    def above(self) -> float:
        """The share of intervals that lie above the true value."""
        return float(np.mean(self.low > self.truth))

    @property
    def apart(self) -> float:
        """The share of pairs of independent samples whose intervals do not overlap."""
        (low, other_low), (high, other_high) = (
            end[: len(end) // 2 * 2].reshape(2, -1) for end in (self.low, self.high)
        )
        return float(np.mean((high < other_low) | (other_high < low)))


# -- populations ----------------------------------------------------------------------------------


def measured_gains(attack: str) -> Floats:
    """Of the development images by one attack, as fractions of the score range."""
    rows: Sequence[Row] = chosen(
        read_rows(rows_file("strength")),
        model=MODEL,
        box=BOX,
        queries=QUERIES,
        attack=attack,
        seed=0,
        boundary=0.0,
        images="dev",
    )
    return column(rows, "gain")


def resampled(name: str, gains: Floats) -> Population:
    """Measured gains, drawn with replacement."""
    called = f"{name}, {len(gains)} images"
    return Population(called, float(gains.mean()), lambda rng, shape: rng.choice(gains, shape))


def populations() -> list[Population]:
    """Known distributions, and measured gains."""
    return [
        Population("normal", 0.0, lambda rng, shape: rng.standard_normal(shape)),
        Population("exponential", 1.0, lambda rng, shape: rng.exponential(1.0, shape)),
        *(resampled(attack, measured_gains(attack)) for attack in ATTACKS),
    ]


# -- intervals ------------------------------------------------------------------------------------


def mean_ends(population: Population, images: int, samples: int) -> Ends:
    """The intervals of the mean gain of many samples."""
    gains = population.draw(np.random.default_rng(images), (samples, images))
    low, high = mean_intervals(gains)
    return Ends(low, high, population.mean)


draws = cache(bootstrap_draws)  # the same for all samples of a size


def srocc_interval(clean: Floats, attacked: Floats) -> tuple[float, float]:
    """The interval of SROCC that `evaluate_scores` gives, without those of all other measures."""
    values = correlation_draws(clean, attacked, draws(len(clean)))["srocc"]
    return draws_interval(values, srocc(clean, attacked), len(clean))


def srocc_ends(truth: float, images: int, samples: int) -> Ends:
    """The intervals of SROCC of many samples of a bivariate normal distribution.

    truth: SROCC of the population, (6/π)·asin(ρ/2) for the correlation ρ (Kruskal, JASA 1958).
    """
    rho = 2.0 * math.sin(math.pi * truth / 6.0)
    rng = np.random.default_rng(images)
    clean, other = rng.standard_normal((2, samples, images))
    attacked = rho * clean + math.sqrt(1.0 - rho**2) * other
    ends = [srocc_interval(s, a) for s, a in zip(clean, attacked, strict=True)]
    low, high = np.array(ends).T
    return Ends(low, high, truth)


# -- the page -------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """In percent: whole numbers, with a decimal below 10 %."""
    return f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}"


def main() -> None:
    """Print the tables and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    covered, separated, ranked = [], [], []
    for n in IMAGES:
        rows = [{"images": str(n)} for _ in range(3)]
        for population in populations():
            ends = mean_ends(population, n, SAMPLES)
            rows[0][f"{population.name}: contain it, %"] = percent(ends.covered)
            rows[0][f"{population.name}: lie below it, %"] = percent(ends.below)
            rows[1][f"{population.name}, %"] = percent(ends.apart)
        for truth in CORRELATIONS:
            ends = srocc_ends(truth, n, PAIRS)
            rows[2][f"SROCC {truth:g}: contain it, %"] = percent(ends.covered)
            rows[2][f"SROCC {truth:g}: lie below it, %"] = percent(ends.below)
            rows[2][f"SROCC {truth:g}: lie above it, %"] = percent(ends.above)
        covered.append(rows[0])
        separated.append(rows[1])
        ranked.append(rows[2])
    parts = {
        "machine": machine(),
        "samples": f"{SAMPLES:,}",
        "pairs": f"{PAIRS:,}",
        "means": markdown(covered),
        "separated": markdown(separated),
        "srocc": markdown(ranked),
    }
    body = NOTE.read_text(encoding="utf-8")
    for name, part in parts.items():
        body = body.replace(f"{{{name}}}", part)
    PAGE.write_text(body.rstrip() + "\n", encoding="utf-8")
    print(body)


if __name__ == "__main__":
    main()
