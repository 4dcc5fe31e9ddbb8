"""Visibility of what constraints allow, in JOD, and strength of attacks at equal visibility.

    python benchmarks/visibility.py                    # continues where it stopped; hours
    python benchmarks/visibility.py --sections allowed scale
    python benchmarks/visibility.py --report           # measures no attack, writes the page

JOD are those of ColorVideoVDP (`iqattack[visibility]`) on its display `standard_fhd`: 10 means no
visible difference; at one JOD less, 75 % of observers prefer the original. Attacks are rows of
benchmarks/rows/visibility.csv.xz, kept in the same way as in benchmarks/strength.py;
docs/visibility.md and two plots are made from them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy.optimize import least_squares
from torch import Tensor

from cells import (
    FEWEST,
    Cell,
    Row,
    chosen,
    column,
    complete,
    directions,
    image_set,
    measured,
)
from common import (
    ROOT,
    Floats,
    color_video_vdp,
    jod,
    machine,
    markdown,
    mean,
    rows_file,
    shared_data,
    with_interval,
    write_doc,
)
from iqattack.attacks import ATTACKS, load_attack
from iqattack.constraints import Constraint, ends, find_scale, parse_constraint
from iqattack.engine import Engine, Outcome
from iqattack.evaluation import srocc
from iqattack.images import ImageSet, read_image
from iqattack.objectives import parse_objective
from iqattack.perception import NO_DIFFERENCE, OFFICE, SENSITIVITIES, patterns
from iqattack.perception.viewing import data_folder
from scorers import scorer
from sweeps import Curve, curves, draw, equal_lines, flat, gain_at, reaches

ROWS = rows_file("visibility")
PAGE = ROOT / "docs" / "visibility.md"
PAIRS_PICTURE = ROOT / "docs" / "visibility-pairs.jpg"
ALLOWED_PLOT, EQUAL_PLOT = (
    ROOT / "docs" / f"visibility-{what}.png" for what in ("allowed", "equal")
)
OURS = "filter-search"
DEFAULT, PROMISED = "bands:2.5", "jod:9.75"

# Constraints of the literature, and ours.
CONSTRAINTS = {
    "linf:1": "",
    "linf:3": "Ran et al., ESWA 2025",
    "linf:8": "usual for classifiers",
    "linf:12.75": "0.05 of white: Bychkov et al., ICME 2025",
    "jnd:0.1": "",
    "jnd:0.38": "Yang et al., TCSVT 2024",
    "jnd:0.38:canny": "Yang et al., as released",
    "jnd:1": "the JND itself",
    DEFAULT: "the default here",
    f"{DEFAULT}:19": "the same for half the distance",
    PROMISED: "found for each image",
}
SIDES = (1, 2, 4, 8, 16)
NEAR = 0.3  # metres: half of the display's distance, or a picture at twice its size
SHOWN = 4  # images of each set that patterns are applied to
SCALES = (2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0)
CORNER = 224  # pixels
PAIRS, CROP = 8, 192  # example images, and side of each crop in pixels

SETS = ("dev", "samples")
VICTIMS = ("cnniqa", "builtin", "brisque", "niqe", "scnn")
QUERIES = 500
CHECKED = (OURS, "portfolio-search", "score-boundary", "sparse-rs", "nes", "signhunter", "square")

EQUAL_QUERIES = 300
WIDTHS = ("bands:2.5", "bands:3.5", "bands:5", "bands:7")
BOXES = ("linf:2", "linf:3", "linf:5")
LEVELS = (9.75, 9.5)
SWEPT = tuple(name for name, kind in ATTACKS.items() if not kind.white_box)
BOXED = (OURS, "score-boundary", "sparse-rs", "nes", "signhunter")
PUBLISHED = {"score-boundary": "jnd:0.38", "ran": "linf:3"}


# -- what constraints allow -----------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """JOD of a pattern on several pictures."""

    jods: tuple[float, ...]

    @property
    def text(self) -> str:
        """Mean, and the least."""
        return f"{np.mean(self.jods):.2f} ({min(self.jods):.2f})"


def _named(name: str, limit: int) -> list[Tensor]:
    return [read_image(entry.path).pixels for entry in image_set(name)][:limit]


def corners(limit: int) -> list[Tensor]:
    """Corner crops of the Kodak photographs; the development images are centre crops."""
    files = sorted((shared_data() / "kodak").glob("*.png"))[:limit]
    return [read_image(file).pixels[:, :CORNER, :CORNER].contiguous() for file in files]


def seen(
    constraint: Constraint, images: Sequence[Tensor], what: str, *distances: float | None
) -> list[dict[str, Seen]]:
    """JOD of all patterns at the limits of a constraint, by name, at each distance."""
    found = [defaultdict[str, list[float]](list) for _ in distances]
    for image in track(images, what, console=Console(stderr=True), transient=True):
        region = constraint.around(image)
        for name, signs in patterns(image):
            picture = ends(region, image, signs)
            for jods, distance in zip(found, distances, strict=True):
                jods[name].append(jod(image, picture, distance))
    return [{name: Seen(tuple(values)) for name, values in jods.items()} for jods in found]


def worst_of(found: dict[str, Seen]) -> str:
    """The pattern with the least mean JOD, and its JOD."""
    worst = min(found, key=lambda name: float(np.mean(found[name].jods)))
    return f"{worst}: {found[worst].text}"


def allowed_text(limit: int) -> str:
    """JOD of patterns at the limits of published constraints, mean (least) over images; a plot."""
    limit = min(limit, SHOWN)
    images = _named("dev", limit) + _named("samples", limit)
    lines = []
    mpl.use("Agg")
    figure, axis = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for spec, whose in CONSTRAINTS.items():
        found, near = seen(parse_constraint(spec), images, spec, None, NEAR)
        lines.append(
            {
                "constraint": f"`{spec}`" + (f" ({whose})" if whose else ""),
                **{f"squares of {k} px": found[f"checkerboard {k} px"].text for k in SIDES},
                "white noise": found["noise"].text,
                "the worst": worst_of(found),
                f"the worst, seen from {NEAR} m": worst_of(near),
            }
        )
        drawn = [np.mean(found[f"checkerboard {k} px"].jods) for k in SIDES]
        ours = spec in (DEFAULT, PROMISED)
        axis.plot(
            SIDES,
            drawn,
            "-" if ours else "--",
            marker="o",
            linewidth=3 if ours else 1.2,
            label=spec,
        )
    axis.set_xscale("log")
    axis.set_xticks(SIDES, [str(side) for side in SIDES])
    axis.minorticks_off()
    axis.set_xlabel("side of the squares of a checkerboard at the ends of the constraint, pixels")
    axis.set_ylabel("JOD, mean")
    axis.axhline(9.75, color="grey", linewidth=0.8)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", ncols=2)
    figure.savefig(ALLOWED_PLOT, dpi=90)
    plt.close(figure)
    return (
        f"![JOD of checkerboards at the ends of constraints]({ALLOWED_PLOT.name})\n\n"
        f"{len(images)} images of the development and sample sets; mean (least) JOD.\n\n"
        f"{markdown(lines)}"
    )


def scale_text(limit: int) -> str:
    """The scale of the default, on images used for no other figure."""
    images = corners(limit)
    lines, kept = [], []
    for scale in SCALES:
        (found,) = seen(parse_constraint(f"bands:{scale}"), images, f"bands:{scale}", None)
        least = min(min(one.jods) for one in found.values())
        if round(least, 2) >= 9.75:
            kept.append(scale)
        lines.append(
            {
                "scale": f"{scale:g}",
                "worst pattern": worst_of(found),
                "least of all": f"{least:.2f}",
                "mean of all patterns": f"{np.mean([one.jods for one in found.values()]):.2f}",
            }
        )
    best = f"{max(kept):g}" if kept else "none of these"
    return (
        f"{len(images)} corners of Kodak photographs, {CORNER}×{CORNER}. The largest scale at "
        f"which every pattern on every image keeps 9.75, to a hundredth: {best}.\n\n"
        f"{markdown(lines)}"
    )


def cost_text(_limit: int) -> str:
    """The cost of finding the scale of `jod:`, relative to that of one JOD, by image size."""
    picture = read_image(sorted((shared_data() / "kodak").glob("*.png"))[0]).pixels
    lines = []
    for side in (112, 224, 448):
        image = picture[:, :side, :side].contiguous()
        jod(image, image)
        started = time.perf_counter()
        for _ in range(5):
            jod(image, 255 - image)
        once = (time.perf_counter() - started) / 5
        started = time.perf_counter()
        scale = find_scale(image, 9.75)
        took = time.perf_counter() - started
        lines.append(
            {
                "picture": f"{side}×{side}",
                "scale": f"{scale:.2f}",
                "seconds": f"{took:.1f}",
                "in JODs measured": f"{took / once:.0f}",
                "seconds a megapixel": f"{took / (side * side / 1e6):.0f}",
            }
        )
    return markdown(lines)


# -- pictures to look at --------------------------------------------------------------------------


def pairs_text(_limit: int) -> str:
    """Sample images before and after an attack, a square crop of each at twice its size."""
    images = image_set("samples")
    model, boxes = scorer("cnniqa"), (DEFAULT, "jnd:0.38")
    ways = directions("cnniqa", "samples")
    rows, lines = [], []
    for number in range(0, len(images), len(images) // PAIRS):
        entry = images.entries[number]
        found = [
            item
            for box in boxes
            for item in Engine.in_process(
                model,
                load_attack(OURS),
                parse_constraint(box),
                parse_objective(ways[number]),
                queries=QUERIES,
            ).run(ImageSet((entry,)))
            if isinstance(item, Outcome)
        ]
        pixels = [found[0].clean, *(outcome.adversarial for outcome in found)]
        top, left = ((size - CROP) // 2 for size in pixels[0].shape[1:])
        crops = [p[:, top : top + CROP, left : left + CROP].permute(1, 2, 0) for p in pixels]
        twice = [np.kron(crop.numpy(), np.ones((2, 2, 1), np.uint8)) for crop in crops]
        rows.append(np.hstack(twice))
        line = {"picture": entry.name}
        for box, outcome in zip(boxes, found, strict=True):
            line[f"JOD in `{box}`"] = f"{jod(outcome.clean, outcome.adversarial):.2f}"
            near = jod(outcome.clean, outcome.adversarial, NEAR)
            line[f"from {NEAR} m, `{box}`"] = f"{near:.2f}"
            line[f"gain in `{box}`, points of 100"] = f"{100 * outcome.gain:.0f}"
        lines.append(line)
    Image.fromarray(np.vstack(rows)).save(PAIRS_PICTURE, quality=95, subsampling=0)
    return (
        f"![{PAIRS} images: clean and attacked]({PAIRS_PICTURE.name})\n\n{OURS} against CNNIQA, "
        f"{QUERIES} queries. From left to right: clean, `{boxes[0]}`, `{boxes[1]}`; squares of "
        f"{CROP} pixels from the middle at twice their size, as if seen "
        f"from {NEAR} m.\n\n{markdown(lines)}"
    )


# -- sensitivity ----------------------------------------------------------------------------------


def sensitivity_text(_limit: int) -> str:
    """The constants of `perception.contrast` against castleCSF, and the best ones."""
    table = json.loads((data_folder() / "csf_lut_weber_fixed_size.json").read_text("utf-8"))
    luminance, frequency = np.array(table["L_bkg"]), np.array(table["rho"])
    bright = (luminance > 0.5) & (luminance < 210)
    coarse = (frequency > 0.3) & (frequency < 23)
    # ColorVideoVDP's correction of its sensitivities, and its gain of red–green.
    correction, gains = 10 ** (-0.2797 / 20), (1.0, 1.45, 1.0)
    lines = []
    for k, ours in enumerate(SENSITIVITIES):
        known = np.array(table[f"o0_c{k + 1}"]).T[np.ix_(coarse, bright)]
        known = known + np.log10(correction * gains[k])
        rho, light = np.log10(frequency[coarse])[:, None], np.log10(luminance[bright])[None]

        def fitted(
            values: Floats,
            low_pass: bool = ours.low_pass,
            rho: Floats = rho,
            light: Floats = light,
        ) -> Floats:
            peak, middle, width, dim, slope = values
            distance = rho - middle
            if low_pass:
                distance = np.maximum(distance, 0.0)
            dimmed = 0.5 * np.log10(1.0 + 10.0 ** (dim + slope * rho - light))
            return np.asarray(peak - (distance / width) ** 2 - dimmed)

        def off(
            values: Floats, fitted: Callable[[Floats], Floats] = fitted, known: Floats = known
        ) -> Floats:
            return np.asarray(fitted(values) - known).ravel()

        best = least_squares(off, [2.5, 0.3, 0.9, 1.2, 0.3])
        mine = np.array(
            [
                np.log10(ours.peak),
                np.log10(ours.frequency),
                ours.width,
                np.log10(ours.dim),
                ours.slope,
            ]
        )
        peak, middle, width, dim, slope = best.x
        lines.append(
            {
                "channel": ("luminance", "red–green", "yellow–violet")[k],
                "peak": f"{10**peak:.1f}",
                "frequency": f"{10**middle:.3f}",
                "width": f"{width:.3f}",
                "dim": f"{10**dim:.2f}",
                "slope": f"{slope:.3f}",
                "error, decades (RMS)": f"{np.sqrt(np.mean(best.fun**2)):.3f}",
                "constants of the code": f"{np.sqrt(np.mean(off(mine) ** 2)):.3f}",
            }
        )
    return (
        f"At {OFFICE.pixels_per_degree} pixels per degree, from 0.3 to 23 cycles per degree and "
        f"0.5 to 210 cd/m².\n\n{markdown(lines)}"
    )


# -- attacks --------------------------------------------------------------------------------------


def kept_cells(options: argparse.Namespace) -> list[Cell]:
    """Ours and five others in the default and in `jod:9.75`, on both sets."""
    return [
        Cell(model, box, QUERIES, attack, images=images)
        for images, model, box, attack in itertools.product(
            options.sets,
            options.models,
            options.constraints,
            [name for name in CHECKED if name in options.attacks],
        )
    ]


def kept_text(rows: list[Row]) -> str:
    """JOD and gain, a row per attack, constraint, victim and set; and missing measurements."""
    measured_, lacking = [], []
    sets = dict(zip(SETS, ("development", "sample set"), strict=True))
    for box, model, images in itertools.product((DEFAULT, PROMISED), VICTIMS, sets):
        mine = chosen(rows, box=box, model=model, queries=QUERIES, seed=0, images=images)
        for attack in CHECKED:
            part = chosen(mine, attack=attack)
            if len(part) < FEWEST:
                lacking.append(f"{attack} on {model}, {sets[images]}")
                continue
            jods = column(part, "jod")
            measured_.append(
                {
                    "constraint": f"`{box}`",
                    "model": model,
                    "images": f"{len(part)}, {sets[images]}",
                    "attack": attack,
                    "gain, points of 100": with_interval(".1f", mean, 100 * column(part, "gain")),
                    "SROCC clean–attacked": with_interval(
                        ".2f", srocc, column(part, "clean"), column(part, "attacked")
                    ),
                    "JOD, mean": with_interval(".3f", mean, jods),
                    "least": f"{jods.min():.2f}",
                    "below 9.6": str((jods < 9.6).sum()),
                }
            )
    left = _lacking("in part or at all", list(dict.fromkeys(lacking)))
    return f"{markdown(measured_)}\n\n{left.strip()}"


def equal_cells(options: argparse.Namespace) -> list[Cell]:
    """Sweeps of `bands:`, for some attacks of `linf:` too; and the boxes of papers."""
    sweeps = [*itertools.product(WIDTHS, options.attacks)]
    if options.boxes:
        sweeps += itertools.product(BOXES, [name for name in BOXED if name in options.attacks])
        sweeps += [(box, name) for name, box in PUBLISHED.items() if name in options.attacks]
    return [
        Cell(m, box, EQUAL_QUERIES, a) for m, (box, a) in itertools.product(options.models, sweeps)
    ]


def jod_curves(rows: list[Row], model: str) -> dict[str, Curve]:
    """JOD and gain in points of each attack in `bands:` of several scales."""
    mine = chosen(rows, model=model, queries=EQUAL_QUERIES, seed=0, images="dev")
    return curves(mine, SWEPT, WIDTHS, "jod", NO_DIFFERENCE)


def equal_text(rows: list[Row]) -> str:
    """Gain at equal JOD: a summary over victims, a table for each, a plot."""
    by_victim = {model: jod_curves(rows, model) for model in VICTIMS}
    by_victim = {model: found for model, found in by_victim.items() if found}
    summary = _summary(by_victim)
    parts = [f"![Gain against JOD]({EQUAL_PLOT.name})", _lead(summary, by_victim)]
    parts.append(markdown(summary))
    _plot(by_victim)
    for model, found in by_victim.items():
        parts.append(f"### {model}\n\n{markdown(equal_lines(found, LEVELS, 'JOD', OURS))}")
    parts.append("### In boxes of grey levels\n\n" + markdown(_boxed(rows)))
    return "\n\n".join(parts)


def _mean_at(level: float, attack: str, by_victim: dict[str, dict[str, Curve]]) -> float | None:
    """Mean gain over victims; None where one of them has no row, or stays above the level."""
    of_each = [found.get(attack) for found in by_victim.values()]
    known = [curve for curve in of_each if curve is not None and reaches(curve, level)]
    if not known or len(known) < len(of_each):
        return None
    return float(np.mean([gain_at(level, *flat(curve)) for curve in known]))


def _summary(by_victim: dict[str, dict[str, Curve]]) -> list[dict[str, str]]:
    """Attacks that have a mean at the first level, the strongest first."""
    means = {a: [_mean_at(level, a, by_victim) for level in LEVELS] for a in SWEPT}
    order = sorted((a for a in SWEPT if means[a][0] is not None), key=lambda a: -(means[a][0] or 0))
    return [
        {"attack": attack}
        | {
            f"mean gain at {level}": "–" if gain is None else f"{gain:.1f}"
            for level, gain in zip(LEVELS, means[attack], strict=True)
        }
        | {m: f"{gain_at(LEVELS[0], *flat(found[attack])):.1f}" for m, found in by_victim.items()}
        for attack in order
    ]


def _lead(summary: list[dict[str, str]], by_victim: dict[str, dict[str, Curve]]) -> str:
    """How far ours is ahead, of whom, and who is not measured yet."""
    gains = {line["attack"]: float(line[f"mean gain at {LEVELS[0]}"]) for line in summary}
    others = [gain for attack, gain in gains.items() if attack != OURS]
    if OURS not in gains or not others:
        return "Not measured yet."
    text = (
        f"Means over {len(by_victim)} of {len(VICTIMS)} victims, and at {LEVELS[0]} for each; "
        f"{OURS} gains {gains[OURS] / max(others):.2f} times as much as the next."
    )
    victims = [model for model in VICTIMS if model not in by_victim]
    whole = [a for a in SWEPT if all(a in found for found in by_victim.values())]
    above = [attack for attack in whole if attack not in gains]
    if above:
        text += (
            f" Less visible than that at every scale on one victim at least: {', '.join(above)}."
        )
    attacks = [attack for attack in SWEPT if attack not in whole]
    return text + _lacking("victims", victims) + _lacking("attacks", attacks)


def _lacking(what: str, names: Sequence[str]) -> str:
    return f" Not measured yet, {what}: {', '.join(names)}." if names else ""


def _boxed(rows: list[Row]) -> list[dict[str, str]]:
    """Gain and JOD in boxes of grey levels and in those of papers."""
    lines = []
    wanted = [*((b, a) for b in BOXES for a in BOXED), *((b, a) for a, b in PUBLISHED.items())]
    for model in VICTIMS:
        for box, attack in dict.fromkeys(wanted):
            part = chosen(
                rows, model=model, box=box, attack=attack, queries=EQUAL_QUERIES, images="dev"
            )
            if len(part) < FEWEST:
                continue
            jods = column(part, "jod")
            lines.append(
                {
                    "model": model,
                    "constraint": f"`{box}`",
                    "attack": attack,
                    "gain, points of 100": with_interval(".1f", mean, 100 * column(part, "gain")),
                    "JOD, mean": f"{jods.mean():.2f}",
                    "least": f"{jods.min():.2f}",
                    "SSIM": f"{column(part, 'ssim').mean():.3f}",
                    "images": str(len(part)),
                }
            )
    return lines


def _plot(by_victim: dict[str, dict[str, Curve]]) -> None:
    mpl.use("Agg")
    across = max(len(by_victim), 1)
    figure, axes = plt.subplots(
        1, across, figsize=(4.5 * across, 4.5), squeeze=False, constrained_layout=True
    )
    for axis, (model, found) in zip(axes[0], by_victim.items(), strict=False):
        draw(axis, found, "JOD", OURS)
        axis.set_title(f"{model}, {EQUAL_QUERIES} queries")
        axis.set_xlim(NO_DIFFERENCE, 9.3)
    axes[0][0].set_ylabel("mean gain, points of 100")
    axes[0][0].legend(fontsize="xx-small", ncols=2)
    figure.savefig(EQUAL_PLOT, dpi=80)
    plt.close(figure)


# -- the page -------------------------------------------------------------------------------------

LOOKED_AT: dict[str, tuple[str, Callable[[int], str]]] = {
    "allowed": ("What constraints allow", allowed_text),
    "scale": ("The scale of the default", scale_text),
    "pairs": ("What it looks like", pairs_text),
    "cost": ("What `jod:` costs", cost_text),
    "sensitivity": ("Contrast sensitivity: constants fitted to castleCSF", sensitivity_text),
}
ATTACKED: dict[
    str, tuple[str, Callable[[argparse.Namespace], list[Cell]], Callable[[list[Row]], str]]
] = {
    "kept": (
        f"What attacks look like in `{DEFAULT}` and `{PROMISED}`, {QUERIES} queries",
        kept_cells,
        kept_text,
    ),
    "equal": (f"Strength at equal visibility, {EQUAL_QUERIES} queries", equal_cells, equal_text),
}
PARTS = ROOT / "benchmarks" / "visibility"


def write_page(rows: list[Row], failed: str) -> None:
    """Write the page: sections of attacks from rows, the others from their stored text."""
    note = PARTS.with_suffix(".md").read_text(encoding="utf-8")
    parts = []
    for name, (title, _) in LOOKED_AT.items():
        part = PARTS / f"{name}.md"
        text = part.read_text(encoding="utf-8") if part.is_file() else "Not measured yet."
        parts.append(f"## {title}\n\n{text.strip()}")
    parts += [f"## {title}\n\n{text(rows)}" for title, _, text in ATTACKED.values()]
    command = "python benchmarks/visibility.py"
    write_doc(
        PAGE,
        "How visible constraints and attacks are",
        command,
        f"{note}\n{failed}" + "\n\n".join(parts),
    )


def main() -> None:
    """Measure what is missing, print and write."""
    every = (*LOOKED_AT, *ATTACKED)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", nargs="+", default=list(every), choices=every)
    parser.add_argument("--models", nargs="+", default=VICTIMS, choices=VICTIMS)
    parser.add_argument("--attacks", nargs="+", default=SWEPT, choices=SWEPT)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument(
        "--constraints",
        nargs="+",
        default=(DEFAULT, PROMISED),
        choices=(DEFAULT, PROMISED),
        help="of the section `kept`",
    )
    parser.add_argument(
        "--no-boxes", dest="boxes", action="store_false", help="no sweep in boxes of grey levels"
    )
    parser.add_argument("--limit", type=int, default=24, help="images, of 24 of each set")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    print(machine())
    if color_video_vdp() is None:
        print("skipped: JOD need ColorVideoVDP; pip install -e '.[visibility]'")
        sys.exit(0)
    torch.set_num_threads(2)
    PARTS.mkdir(exist_ok=True)
    for name in () if options.report else options.sections:
        if name in LOOKED_AT:
            text = LOOKED_AT[name][1](options.limit)
            (PARTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
            print(text)
        else:
            complete(ROWS, ATTACKED[name][1](options), options.limit, options.workers)
    write_page(*measured(ROWS))


if __name__ == "__main__":
    main()
