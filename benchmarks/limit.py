"""How far a score-based search can get: the isotropic limit, and how our attacks compare.

    python benchmarks/limit.py               # continues where it stopped; an hour in all
    python benchmarks/limit.py --report      # only writes the page, from existing rows

Five victims that pool in different ways, `linf:3`, the development images, objective `rank`. Rows
are added to benchmarks/rows/limit.csv.xz (the isotropic limit, with true gradients) and to
benchmarks/rows/limit_attacks.csv.xz (our attacks) as they are done; docs/limit.md and
docs/limit.png are made from them, and from gradients that are computed anew.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from cells import Cell, Row, complete, image_set, measured, spread
from common import (
    ROOT,
    Floats,
    machine,
    markdown,
    mean,
    measure,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
)
from fingerprints import MAX_POOLING
from iqattack.attacks import Search, Task
from iqattack.directions import high_frequencies
from iqattack.images import ImageSet, read_image
from iqattack.models import gradient_of, score_checked
from iqattack.objectives import Target, parse_objective
from scorers import scorer

VICTIMS = {
    "builtin": "statistics in cells: mean, deviation and maximum, quantiles",
    "cnniqa": "largest and smallest response of blocks of 32×32, averaged",
    "scnn": "mean",
    MAX_POOLING: "largest response of the whole and of a spatial pyramid",
    "brisque": "statistics of the whole",
}
QUERIES = (50, 200, 500, 2000, 20_000)
ATTACKED = (50, 500, 2000)  # queries of the attacks
OURS = ("filter-search", "portfolio-search")
SEEDS = (0, 1, 2)
STEPS = (5, 20)  # over which queries are spread
FEWEST = 4  # images of a row
CEILING = 40  # steps
PATH = 2.5  # length of all steps, in radii of the box, as of `pgd`
BOX = 3  # grey levels
SIDE = 5  # of a filter, pixels
CELLS = (224, 56, 32)  # pixels a side, one filter each
BANDS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # cycles per pixel, radially
ROWS = rows_file("limit")
ATTACKS = rows_file("limit_attacks")
PAGE = ROOT / "docs" / "limit.md"
PLOT = PAGE.with_suffix(".png")
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables


@dataclass(frozen=True)
class Limit:
    """Gain of PGD on an image, as a fraction of the score range, capped at what the range leaves.

    queries: cost of the estimates of the gradient, over that many steps; 0 for the true gradient.
    """

    victim: str
    image: str
    queries: int
    steps: int
    gain: float


Direction = Callable[[Tensor], Tensor]


# -- one image ------------------------------------------------------------------------------------


class Victim:
    """A model, its gradients, and the direction that `rank` assigns to each image."""

    def __init__(self, name: str) -> None:
        self.scorer = scorer(name)
        self._gradient = gradient_of(self.scorer)
        self.images = [read_image(entry.path).pixels for entry in image_set("dev")]
        clean = score_checked(self.scorer, torch.stack(self.images)).tolist()
        self.targets: list[Target] = parse_objective("rank").targets(
            clean, self.scorer.score_range, self.scorer.lower_better
        )

    def gradient(self, number: int, x: Tensor) -> Tensor:
        """Where the gain of an image rises fastest, at x (3, H, W)."""
        found = self._gradient(x[None])[0]
        return found if self.targets[number].rising else -found

    def ascended(self, number: int, steps: int, direction: Direction) -> float:
        """The best gain along sign steps in directions computed from gradients."""

        def search(task: Task) -> Search:
            x = task.image
            for _ in range(steps):
                step = PATH * BOX / steps * direction(self.gradient(number, x)).sign()
                x = (x + step).clamp(task.lower, task.upper)
                yield x[None]

        target, entry = self.targets[number], image_set("dev").entries[number]
        found = measure(
            "ascent",
            self.scorer,
            ImageSet((entry,)),
            search,
            constraint=f"linf:{BOX}",
            queries=steps,
            objective=target.direction,
        )
        return min(float(found.gain[0]), target.reach)


@cache
def victim(name: str) -> Victim:
    """One for each process."""
    return Victim(name)


def cosine_of(queries: int, steps: int, pixels: int) -> float:
    """Cosine of an estimate from isotropic queries to the gradient: √(N/(T·d)), at most 1."""
    return min(1.0, math.sqrt(queries / (steps * pixels)))


def isotropic(cosine: float, chance: torch.Generator) -> Direction:
    """The grey part of a gradient, with noise added until this cosine is reached."""

    def direction(gradient: Tensor) -> Tensor:
        grey = gradient.sum(0)
        along = grey / grey.norm().clamp(min=1e-30)
        noise = torch.randn(grey.shape, generator=chance)
        noise -= (noise * along).sum() * along
        estimate: Tensor = cosine * along + math.sqrt(1 - cosine**2) * noise / noise.norm()
        return estimate

    return direction


def limits(name: str, number: int) -> list[Limit]:
    """All of one image."""
    torch.set_num_threads(1)
    known, image = victim(name), image_set("dev").entries[number].name
    found = [Limit(name, image, 0, CEILING, known.ascended(number, CEILING, lambda g: g))]
    chance = torch.Generator().manual_seed(number)
    for queries, steps in itertools.product(QUERIES, STEPS):
        cosine = cosine_of(queries, steps, known.images[number][0].numel())
        gain = known.ascended(number, steps, isotropic(cosine, chance))
        found.append(Limit(name, image, queries, steps, gain))
    return found


# -- what gradients look like ---------------------------------------------------------------------


def shifted(plane: Tensor) -> Tensor:
    """A plane (H, W) shifted by up to two pixels each way (25, H, W): the inputs of a filter."""
    half, (height, width) = SIDE // 2, plane.shape
    padded = F.pad(plane[None, None], (half,) * 4, mode="reflect")[0, 0]
    moves = itertools.product(range(SIDE), repeat=2)
    return torch.stack([padded[i : i + height, j : j + width] for i, j in moves])


def filtered_share(gradient: Tensor, detail: Tensor, cell: int) -> float:
    """Share of the energy of a gradient (H, W) that filters of a plane explain, one per cell."""

    def blocks(planes: Tensor) -> Tensor:
        cut = F.unfold(planes[None], cell, stride=cell)[0]
        return cut.reshape(len(planes), cell * cell, -1).permute(2, 0, 1)

    basis, wanted = blocks(shifted(detail)), blocks(gradient[None])
    gram = basis @ basis.transpose(1, 2)
    ridge = 1e-4 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-6
    right = basis @ wanted.transpose(1, 2)
    weights = torch.linalg.solve(gram + ridge * torch.eye(len(gram[0])), right)
    return float((weights * right).sum() / wanted.square().sum().clamp(min=1e-30))


def looked_at(gradient: Tensor, image: Tensor) -> dict[str, float]:
    """Statistics of a gradient (3, H, W) at an image (3, H, W): energy shares and unevenness."""
    grey = gradient.sum(0)
    energy = gradient.square().sum().clamp(min=1e-30)
    found = {"grey": float(grey.square().sum() / 3 / energy)}
    detail = high_frequencies(image)
    for cell in CELLS:
        found[f"filter {cell}"] = filtered_share(grey, detail, cell)
    cells = F.avg_pool2d(grey.square()[None, None], 16).flatten()
    found["uneven"] = float(cells.mean().sqrt() / cells.sqrt().mean().clamp(min=1e-30))
    spectrum = torch.fft.fft2(grey).abs().square()
    down, across = (torch.fft.fftfreq(side) for side in grey.shape)
    radius = (down[:, None].square() + across.square()).sqrt()
    for low, high in itertools.pairwise(BANDS):
        inside = (radius >= low) & (radius < high)
        found[f"{low}"] = float(spectrum[inside].sum() / spectrum.sum().clamp(min=1e-30))
    return found


def gradients(numbers: Sequence[int]) -> dict[str, list[Tensor]]:
    """Of each victim at the clean images."""
    return {
        name: [known.gradient(k, known.images[k].float()) for k in numbers]
        for name in VICTIMS
        for known in [victim(name)]
    }


def cosines(found: dict[str, list[Tensor]]) -> list[dict[str, str]]:
    """Mean of the magnitudes of cosines between victims, and the largest."""
    rows = []
    for one, its in found.items():
        row = {"": shown(one)}
        for other, others in found.items():
            values = [
                abs(float(F.cosine_similarity(a.flatten(), b.flatten(), 0)))
                for a, b in zip(its, others, strict=True)
            ]
            same = one == other
            row[shown(other)] = "1" if same else f"{np.mean(values):.4f} ({max(values):.3f})"
        rows.append(row)
    return rows


def looks(found: dict[str, list[Tensor]], numbers: Sequence[int]) -> list[dict[str, str]]:
    """A row for each victim, means over images."""
    rows = []
    for name, each in found.items():
        images = [victim(name).images[k] for k in numbers]
        seen = [looked_at(g, image) for g, image in zip(each, images, strict=True)]
        value = {key: float(np.mean([one[key] for one in seen])) for key in seen[0]}
        pixels = images[0][0].numel()
        row = {"": shown(name), "grey": f"{value['grey']:.2f}"}
        for cell in CELLS:
            share = value[f"filter {cell}"]
            weights = SIDE**2 * round((images[0].shape[1] // cell) * (images[0].shape[2] // cell))
            row[f"{weights} weights"] = f"{100 * share:.1f} % (×{share * pixels / weights:.1f})"
        row["uneven"] = f"{value['uneven']:.2f}"
        for low, high in itertools.pairwise(BANDS):
            row[f"{low:g} to {high:g}"] = f"{100 * value[str(low)]:.0f} %"
        rows.append(row)
    return rows


# -- the page -------------------------------------------------------------------------------------


def shown(name: str) -> str:
    """A victim's name in tables."""
    return "max-pooling" if name == MAX_POOLING else name


def read() -> list[Limit]:
    """All existing rows."""
    return read_csv(ROWS, Limit)


def compute(limit: int, workers: int) -> None:
    """Add missing rows of the first `limit` images."""
    there = {(row.victim, row.image) for row in read()}
    entries = image_set("dev").entries
    todo = [
        (name, k)
        for k, name in itertools.product(spread()[:limit], VICTIMS)
        if (name, entries[k].name) not in there
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(limits, *each) for each in todo]
        console = Console(stderr=True)
        done = track(as_completed(jobs), "limits", len(jobs), console=console)
        write_csv(ROWS, Limit, (row for job in done for row in job.result()))


@dataclass(frozen=True)
class Shares:
    """Gains of one victim, per image (I,): the ceiling, the limit and attacks by queries.

    attacks: by name and queries, means over seeds; seeds: by attack.
    """

    ceiling: Floats
    limit: dict[int, Floats]
    attacks: dict[tuple[str, int], Floats]
    seeds: dict[str, int]


def shares(name: str, rows: Sequence[Limit], attacked: Sequence[Row]) -> Shares | None:
    """Of the images that every attack has with the first seed; None of fewer than four.

    A further seed of an attack counts once it has all of these images, at all budgets.
    """
    mine = [row for row in rows if row.victim == name]
    reach = {
        entry.name: target.reach
        for entry, target in zip(image_set("dev"), victim(name).targets, strict=True)
    }
    known = {(r.image, r.seed, r.attack, r.queries): r.gain for r in attacked if r.model == name}

    def done(image: str, attack: str, seed: int) -> bool:
        return all((image, seed, attack, queries) in known for queries in ATTACKED)

    images = sorted(
        image
        for image in {row.image for row in mine}
        if all(done(image, attack, SEEDS[0]) for attack in OURS)
    )
    if len(images) < FEWEST:
        return None
    seeds = {
        attack: [seed for seed in SEEDS if all(done(image, attack, seed) for image in images)]
        for attack in OURS
    }

    def gains(queries: int, steps: int) -> Floats:
        found = {r.image: r.gain for r in mine if (r.queries, r.steps) == (queries, steps)}
        return np.array([found[image] for image in images])

    limit = {n: max((gains(n, t) for t in STEPS), key=mean) for n in QUERIES}
    attacks = {
        (attack, n): np.array(
            [
                np.mean([min(known[i, s, attack, n], reach[i]) for s in seeds[attack]])
                for i in images
            ]
        )
        for attack, n in itertools.product(OURS, ATTACKED)
    }
    return Shares(gains(0, CEILING), limit, attacks, {a: len(of) for a, of in seeds.items()})


def ratio(gain: Floats, whole: Floats) -> float:
    """The ratio of means, because some images have almost nothing to gain."""
    return float(gain.mean() / whole.mean())


def table(found: dict[str, Shares]) -> list[dict[str, str]]:
    """A row for each victim and budget."""
    rows = []
    for name, of in found.items():
        for queries in QUERIES:
            bound = of.limit[queries]
            row = {
                "victim": shown(name),
                "queries": f"{queries:,}",
                "isotropic limit": with_interval(".2f", ratio, bound, of.ceiling),
            }
            for attack in OURS:
                gain = of.attacks.get((attack, queries))
                if gain is None:
                    row |= {attack: "–", f"{attack}, over the limit": "–"}
                else:
                    row[attack] = with_interval(".2f", ratio, gain, of.ceiling)
                    row[f"{attack}, over the limit"] = with_interval(".2f", ratio, gain, bound)
            seeds = ", ".join(str(of.seeds[attack]) for attack in OURS)
            rows.append(row | {"images": str(len(of.ceiling)), "seeds of each": seeds})
    return rows


def over_kinds(found: dict[str, Shares]) -> list[dict[str, str]]:
    """Mean and least share over victims."""
    rows = []
    for queries in ATTACKED:
        row = {"queries": f"{queries:,}"}
        for attack in OURS:
            gained = {
                name: ratio(of.attacks[attack, queries], of.ceiling) for name, of in found.items()
            }
            least = min(gained, key=lambda name: gained[name])
            row[f"{attack}, mean"] = f"{np.mean(list(gained.values())):.2f}"
            row[f"{attack}, least"] = f"{gained[least]:.2f} ({shown(least)})"
        bound = [ratio(of.limit[queries], of.ceiling) for of in found.values()]
        rows.append(
            row | {"isotropic limit, mean": f"{np.mean(bound):.2f}", "victims": str(len(found))}
        )
    return rows


def plot(found: dict[str, Shares]) -> None:
    """Shares against queries, a panel for each victim."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        1, len(found), figsize=(3.2 * len(found), 3.4), sharey=True, layout="constrained"
    )
    for axis, (name, of) in zip(np.atleast_1d(axes), found.items(), strict=True):
        bound = [ratio(of.limit[n], of.ceiling) for n in QUERIES]
        axis.plot(QUERIES, bound, "o-", color="0.5", label="isotropic limit")
        for attack, style in zip(OURS, ("s-", "^-"), strict=True):
            gained = [ratio(of.attacks[attack, n], of.ceiling) for n in ATTACKED]
            axis.plot(ATTACKED, gained, style, label=attack)
        axis.axhline(1.0, color="0.8")
        axis.set(xscale="log", title=f"{shown(name)}, {len(of.ceiling)} images", xlabel="queries")
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("share of the white-box ceiling")
    np.atleast_1d(axes)[0].legend()
    figure.savefig(PLOT, dpi=90)


def write_page(attacked: Sequence[Row], looked: int) -> None:
    """docs/limit.md and its figure."""
    rows = read()
    found = {name: of for name in VICTIMS if (of := shares(name, rows, attacked)) is not None}
    if not found:
        print("no victim has four images yet")
        return
    plot(found)
    numbers = sorted(spread()[:looked])
    clean = gradients(numbers)
    note = NOTE.read_text(encoding="utf-8")
    tables = {
        "limits": table(found),
        "kinds": over_kinds(found),
        "cosines": cosines(clean),
        "looks": looks(clean, numbers),
        "victims": [{"victim": shown(k), "pools by": v} for k, v in VICTIMS.items()],
    }
    texts = {name: markdown(lines) for name, lines in tables.items()}
    print(*texts.values(), sep="\n\n")
    texts["machine"] = f"Printed by `python benchmarks/limit.py` on {machine()}."
    texts["looked"] = str(len(numbers))
    for name, text in texts.items():
        note = note.replace(f"<!-- {name} -->", text)
    PAGE.write_text(note, encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=12, help="images, of 24")
    parser.add_argument(
        "--looked", type=int, default=12, help="images whose gradients are looked at"
    )
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=list(VICTIMS))
    parser.add_argument("--attacks", nargs="+", default=list(OURS), choices=OURS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], choices=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    cells = [
        Cell(name, f"linf:{BOX}", queries, attack, seed=seed)
        for name, seed, attack, queries in itertools.product(
            options.victims, options.seeds, options.attacks, ATTACKED
        )
    ]
    if not options.report:
        compute(options.limit, options.workers)
        complete(ATTACKS, cells, options.limit, options.workers)
    attacked, _ = measured(ATTACKS)
    write_page(attacked, options.looked)


if __name__ == "__main__":
    main()
