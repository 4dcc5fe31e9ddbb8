"""Other uses of students at 20 queries per image, and what limits their predictions.

    python benchmarks/students_tried.py [--victim cnniqa] [--learnt 20000] [--limit 12]

Uses the profile that `students.py` made (benchmarks/out/students), or makes it. Writes
docs/students-tried.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cmaes import CMA
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import universal
from baselines import REPORTING
from cells import image_set
from common import ROOT, Floats, markdown, mean, measure, shared_data, with_interval, write_doc
from iqattack.attacks import Answer, Search, Task
from iqattack.attacks.shared.ascent import STEPS
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.first import brushes_of
from iqattack.directions import Profile, high_frequencies, read_profile
from iqattack.images import ImageSet, read_image
from iqattack.models import gradient_of, score_checked
from iqattack.students import Probes
from limit import BOX, CEILING, VICTIMS, ratio, shown, victim
from students import profile_of

QUERIES = 20
ASKED = 9  # strokes of the profile that are asked about, before anything is made of them
CHANGES = 40  # of an image and kind, for a correlation
LOOKED = 6  # images whose gradients are looked at
DENSITY = 1 / 16  # of pixels that sparse changes touch
Known = Generator[Tensor, Answer, list[tuple[float, Brush]]]


def asked(canvas: Canvas, profile: Profile, most: int) -> Known:
    """What the first strokes of a profile gain, the best first."""
    gains = []
    for brush in list(brushes_of(canvas.task, profile.strokes, profile.taught()))[:most]:
        if canvas.done:
            break
        gains.append(((yield from canvas.ask(canvas.painted(brush))), brush))
    return sorted(gains, key=lambda pair: -pair[0])


def strokes(task: Task, profile: Profile) -> Search:
    """Only the strokes, one after the other."""
    yield from asked(Canvas(task), profile, len(profile.strokes))


def mixed(task: Task, profile: Profile) -> Search:
    """CMA-ES over the weights of the best five, whose sum gives the signs."""
    canvas = Canvas(task)
    best = (yield from asked(canvas, profile, ASKED))[:5]
    fields = torch.stack([_field(canvas, brush) for _, brush in best])
    start = np.array([max(gain, 0.0) for gain, _ in best])
    start /= max(float(np.linalg.norm(start)), 1e-9)
    search = CMA(mean=start, sigma=0.5, seed=0, population_size=6)
    yield from canvas.ask(_signed(canvas, fields, start))
    while not canvas.done:
        generation = []
        for _ in range(search.population_size):
            theta = search.ask()
            gain = yield from canvas.ask(_signed(canvas, fields, theta))
            generation.append((theta, -gain))
        search.tell(generation)


def onward(task: Task, profile: Profile) -> Search:
    """The two students that gained most continue from the best candidate, in turn."""
    canvas = Canvas(task)
    students = profile.taught()
    found = yield from asked(canvas, profile, ASKED)
    names = [brush.stroke.student for _, brush in found]
    order = [name for name in names if name is not None] or list(students)
    step = (task.upper - task.lower) / STEPS * (1.0 if task.rising else -1.0)
    while not canvas.done:
        for kind in order[:2]:
            gradient, x = students[kind].smoothed(task.rng), canvas.best.float()
            for _ in range(STEPS // 2):
                x = (x + step * gradient(x[None])[0].sign()).clamp(task.lower, task.upper)
            way = x - task.image
            picture = torch.where(way > 0, 255.0, torch.where(way < 0, 0.0, canvas.best.float()))
            yield from canvas.ask(picture.to(torch.uint8))


def _field(canvas: Canvas, brush: Brush) -> Tensor:
    rows, columns = (slice(0, side) for side in canvas.image.shape[1:])
    field = canvas.field(brush, rows, columns).float().expand(3, -1, -1)
    return (field / field.square().mean().sqrt()).clamp(-2.0, 2.0)


def _signed(canvas: Canvas, fields: Tensor, weights: Floats) -> Tensor:
    total = torch.einsum("k,kchw->chw", torch.tensor(weights, dtype=torch.float32), fields)
    image = canvas.image.to(torch.int64)
    return torch.where(total > 0, 255, torch.where(total < 0, 0, image)).to(torch.uint8)


TRIED = {
    "all strokes of the profile": strokes,
    "nine strokes, then weights of the best five by CMA-ES": mixed,
    "nine strokes, then students walk on from the best picture": onward,
}


def gains(name: str, profile: Profile, limit: int) -> list[dict[str, str]]:
    """A row for each way: its share of the white-box ceiling."""
    known = victim(name)
    numbers = REPORTING.images[:limit]
    ceiling = np.array([known.ascended(k, CEILING, lambda g: g) for k in numbers])
    rows = []
    for label, way in TRIED.items():
        found = []
        for k in track(numbers, label, console=Console(stderr=True)):
            entry, target = image_set("dev").entries[k], known.targets[k]
            outcome = measure(
                label,
                known.scorer,
                ImageSet((entry,)),
                partial(way, profile=profile),
                constraint=f"linf:{BOX}",
                queries=QUERIES,
                objective=target.direction,
            )
            found.append(min(float(outcome.gain[0]), target.reach))
        share = with_interval(".3f", ratio, np.array(found), ceiling)
        rows.append({"first queries": f"{label}, {QUERIES} queries", "share of the ceiling": share})
    return [*rows, *of_universals(name, numbers, ceiling)]


def of_universals(name: str, numbers: Sequence[int], ceiling: Floats) -> list[dict[str, str]]:
    """Gains of universal patterns on these images, if they were measured."""
    job = universal.Job(name, f"linf:{BOX}", "filter", 5_000, 0, 0)
    known = {
        row.image: row
        for row in universal.read()
        if (row.job, row.behind, row.images) == (job, 0, "dev")
    }
    names = [image_set("dev").entries[k].name for k in numbers]
    if any(image not in known for image in names):
        return []
    found = {
        "first pattern of a universal perturbation, no query": [known[n].first for n in names],
        "the best of its eight, 9 queries": [known[n].best for n in names],
    }
    return [
        {
            "first queries": label,
            "share of the ceiling": with_interval(".3f", ratio, np.array(g), ceiling),
        }
        for label, g in found.items()
    ]


def correlations(name: str, profile: Profile, limit: int) -> list[dict[str, str]]:
    """How well a gradient at the clean image, true or a student's, predicts effects of changes."""
    scorer, students = victim(name).scorer, profile.taught()
    true = gradient_of(scorer)
    found: dict[str, dict[str, list[float]]] = {}
    cosines: dict[str, list[float]] = {kind: [] for kind in students}
    for k in track(REPORTING.images[:limit], "gradients", console=Console(stderr=True)):
        image = read_image(image_set("dev").entries[k].path).pixels
        x = image.float()
        slopes = {"true gradient": true(x[None])[0]}
        for kind, student in students.items():
            slopes[kind] = student.gradient(x[None])[0]
            cosine = F.cosine_similarity(slopes[kind].flatten(), true(x[None])[0].flatten(), 0)
            cosines[kind].append(float(cosine))
        for label, changes in _changes(image, k).items():
            pictures = torch.stack([(x + change).clamp(0, 255) for change in changes]).byte()
            moved = np.concatenate(
                [score_checked(scorer, part) for part in torch.split(pictures, 8)]
            )
            for whose, slope in slopes.items():
                said = [float(((picture - x) * slope).sum()) for picture in pictures.float()]
                value = float(np.corrcoef(said, moved)[0, 1])
                found.setdefault(label, {}).setdefault(whose, []).append(value)
    rows = [
        {"changes": label} | {whose: f"{mean(np.array(v)):.2f}" for whose, v in by.items()}
        for label, by in found.items()
    ]
    last = {"changes": "cosine to the true gradient", "true gradient": "1"}
    return [*rows, last | {k: f"{mean(np.array(v)):.3f}" for k, v in cosines.items()}]


def _changes(image: Tensor, seed: int) -> dict[str, list[Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    probes = Probes(high_frequencies(image), torch.Generator().manual_seed(seed))

    def white() -> Tensor:
        return (2.0 * torch.randint(2, image.shape[1:], generator=rng) - 1.0).expand(3, -1, -1)

    def sparse() -> Tensor:
        return white() * (torch.rand(image.shape[1:], generator=rng) < DENSITY)

    textures = [probes(2 + 4 * number) / 2.0 for number in range(CHANGES)]
    noises = [white() for _ in range(CHANGES)]
    return {
        "grey white noise, 2 levels (as students learn from)": [2.0 * noise for noise in noises],
        "grey white noise, 1 level": noises,
        f"the same on a {1 / DENSITY:.0f}th of the pixels": [sparse() for _ in range(CHANGES)],
        "grey textures, 2 levels (as students learn from)": [2.0 * t for t in textures],
        "grey textures, 1 level": textures,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--victim", default="cnniqa", choices=list(VICTIMS))
    parser.add_argument("--learnt", type=int, default=20_000)
    parser.add_argument("--limit", type=int, default=12, help="images")
    options = parser.parse_args()
    shared_data()
    torch.set_num_threads(1)
    path, paid = profile_of(options.victim, options.learnt)
    profile = read_profile(Path(path))
    note = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    for mark, text in {
        "victim": shown(options.victim),
        "paid": f"{paid:,}",
        "gains": markdown(gains(options.victim, profile, options.limit)),
        "looked": str(min(LOOKED, options.limit)),
        "correlations": markdown(correlations(options.victim, profile, min(LOOKED, options.limit))),
    }.items():
        note = note.replace(f"<!-- {mark} -->", text)
    write_doc(
        ROOT / "docs" / "students-tried.md",
        "Alternatives tried with students",
        "python benchmarks/students_tried.py",
        note,
    )


if __name__ == "__main__":
    main()
