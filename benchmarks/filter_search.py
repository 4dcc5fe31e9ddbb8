"""The strength of filter-search: against other attacks, by part, and with less information.

    python benchmarks/filter_search.py                     # continues where it stopped; hours
    python benchmarks/filter_search.py --sections gain --models cnniqa
    python benchmarks/filter_search.py --report            # only writes the page
    python benchmarks/filter_search.py --quick             # a few small cells, writes nothing

Rows are kept in benchmarks/rows/filter_search.csv.xz, in the same way as in benchmarks/strength.py;
docs/filter-search-figures.md and docs/filter-search-ssim.png are made from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from cells import (
    FEWEST,
    Cell,
    Row,
    chosen,
    column,
    complete,
    compute,
    measured,
    missing,
    shared,
)
from common import (
    ROOT,
    Floats,
    dev_images,
    machine,
    markdown,
    mean,
    rows_file,
    shared_data,
    with_interval,
    write_doc,
)
from iqattack.attacks import ATTACKS
from iqattack.directions import read_profile
from iqattack.evaluation import progress, srocc
from iqattack.images import ImageSet
from iqattack.runs import Settings, make_profile
from scorers import scorer
from sweeps import Curve, curves, draw, equal_lines

ROWS = rows_file("filter_search")
PAGE = ROOT / "docs" / "filter-search-figures.md"
PLOT = ROOT / "docs" / "filter-search-ssim.png"
MODELS = ("cnniqa", "builtin", "brisque", "niqe", "piqe")
OURS, BOX = "filter-search", "linf:3"

STRENGTH = rows_file("strength")
# At this budget on eight images, of all in docs/strength.md; square because it is the best known.
STRONGEST = ("score-boundary", "sparse-rs", "signhunter", "nes", "ran", "square")
BUDGETS, SEEDS = (50, 500, 2000), (0, 1, 2, 3, 4)
# CNNIQA also on images that were not used with it during development.
SETS = (*((model, "dev") for model in MODELS), ("cnniqa", "samples"))
PARTS = {
    "all of it": "",
    "the bank alone": "filters=0,regions=false",
    "bank and filter": "regions=false,share=1,patience=10000",
    "bank and regions": "filters=0",
    "no channel turned": "channels=false",
    "the filter for half of the budget": "patience=10000",
    "a filter of 3×3": "side=3",
    "a filter of 7×7": "side=7",
    "regions with 5 filters": "palette=5",
    "regions with 60 filters": "palette=60",
    "with gradients of the other model": "substitute=builtin",  # see `scorers.substitute`
}
# Values of the options beside the default ones, on a model and images of this project.
CONSTANTS: dict[str, tuple[object, ...]] = {
    "side": (3, 7),
    "share": (0.25, 0.75),
    "patience": (50, 200),
    "palette": (5, 30, 60),
    "channels": ("false",),
}
PART_QUERIES, PART_MODELS = 500, ("cnniqa", "builtin")
SSIMS, BOXES = (0.98, 0.95), ("linf:1", "linf:2", "linf:3", "linf:5", "linf:8")
# Every black-box attack at few queries; at more, the strongest.
SSIM_ATTACKS = {
    100: tuple(name for name, kind in ATTACKS.items() if not kind.white_box),
    500: (OURS, "score-boundary", "sparse-rs", "nes"),
}
ANSWER_QUERIES, BOUNDARY = 300, 0.1
BY_SCORE = (OURS, "nes", "square", "sparse-rs")
# The others may use the whole budget to find a starting point, as ours does.
BY_BOUNDARY = (
    OURS,
    *(
        f"{name}:starts={ANSWER_QUERIES}"
        for name in ("surfree", "hop-skip-jump", "geoda", "boundary")
    ),
)
COLOUR, COLOUR_IMAGES = ("warmth", "colourfulness", "linear in blocks"), range(0, 24, 2)
BY_COLOUR = (OURS, "parsimonious", "square", "signhunter", "sparse-rs", "nes")
PROFILED = (5, 10, 20, 50, 100)
PROFILE = Path("benchmarks") / "profiles" / "cnniqa.json"
TAUGHT, REPORTED = range(1, 24, 2), range(0, 24, 2)  # images of the profile, and of its figures


@dataclass(frozen=True)
class Section:
    """Cells that make one part of the page; images: numbers of the development set, or all."""

    title: str
    cells: Callable[[argparse.Namespace], list[Cell]]
    text: Callable[[list[Row]], str]
    images: Sequence[int] | None = None


def of(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows with these values, by image; of the development set where no other is named."""
    return chosen(rows, **{"images": "dev"} | wanted)


def points(rows: Sequence[Row]) -> str:
    """Mean gain in points of 100."""
    return with_interval(".1f", mean, 100 * column(rows, "gain"))


def correlation(rows: Sequence[Row]) -> str:
    """Of clean and attacked scores."""
    return with_interval(".2f", srocc, column(rows, "clean"), column(rows, "attacked"))


# -- gain -----------------------------------------------------------------------------------------


def gain_cells(options: argparse.Namespace) -> list[Cell]:
    """All models, sets, budgets and seeds; seed 0 first."""
    return [
        Cell(model, BOX, queries, OURS, seed, images=images)
        for queries in options.queries
        for model, images in SETS
        if model in options.models
        for seed in options.seeds
    ]


def gain_text(rows: list[Row]) -> str:
    """A line per model, set and budget: means over the seeds, intervals over images."""
    lines = []
    for model, images in SETS:
        for queries in BUDGETS:
            mine = of(
                rows, model=model, box=BOX, queries=queries, attack=OURS, boundary=0.0,
                images=images,
            )  # fmt: skip
            by_seed = [of(mine, seed=seed, images=images) for seed in SEEDS]
            # Only whole sets: a seed of fewer images has other images' mean.
            most = max(map(len, by_seed))
            whole = [part for part in by_seed if len(part) == most]
            if most < FEWEST:
                continue
            gains, clean, attacked, similarity = (
                np.array([column(part, name) for part in whole])
                for name in ("gain", "clean", "attacked", "ssim")
            )

            def correlations(before: Floats, *after: Floats) -> float:
                return float(np.mean([srocc(before, scores) for scores in after]))

            lines.append(
                {
                    "model": model + ("" if images == "dev" else ", sample set"),
                    "queries": str(queries),
                    "gain, points of 100": with_interval(".1f", mean, 100 * gains.mean(0)),
                    "SROCC clean–attacked": with_interval(".2f", correlations, clean[0], *attacked),
                    "SSIM": f"{similarity.mean():.3f}",
                    "gain by seed": ", ".join(f"{100 * g.mean():.1f}" for g in gains),
                    "images": str(most),
                }
            )
    return markdown(lines)


# -- other attacks --------------------------------------------------------------------------------


def strongest_cells(_: argparse.Namespace) -> list[Cell]:
    """None: the rows are those of benchmarks/strength.py, which parity.py adds to."""
    return []


def strongest_text(_: list[Row]) -> str:
    """The strongest other attacks at the largest budget, and how far ours is ahead, paired."""
    rows, _failed = measured(STRENGTH)
    mine = of(rows, model="cnniqa", box=BOX, queries=max(BUDGETS), seed=0)
    mine = shared(of(mine, attack=attack) for attack in (OURS, *STRONGEST))
    ours = of(mine, attack=OURS)
    lines = []
    for attack in (OURS, *STRONGEST):
        part = of(mine, attack=attack)
        if part and ours:
            lead = 100 * (column(ours, "gain") - column(part, "gain"))
            lines.append(
                {
                    "attack": attack,
                    "gain, points of 100": points(part),
                    "SROCC clean–attacked": correlation(part),
                    "SSIM": f"{column(part, 'ssim').mean():.3f}",
                    f"{OURS} ahead by": "–"
                    if attack == OURS
                    else with_interval("+.1f", mean, lead),
                    "images": str(len(part)),
                }
            )
    return markdown(lines)


# -- parts ----------------------------------------------------------------------------------------


def part_specs() -> dict[str, str]:
    """Specs, by the part that is removed or changed."""
    return {label: OURS + (f":{given}" if given else "") for label, given in PARTS.items()}


def part_cells(options: argparse.Namespace) -> list[Cell]:
    """Each part on two models."""
    models = [model for model in PART_MODELS if model in options.models]
    return [Cell(m, BOX, PART_QUERIES, spec) for spec in part_specs().values() for m in models]


def beside(mine: Sequence[Row], full: Sequence[Row]) -> tuple[str, str, str]:
    """Gain, paired difference to other rows, and number of images, of those that both have."""
    both = [(a, b) for a in mine for b in full if a.image == b.image]
    if len(both) < 2:
        return "–", "–", str(len(both))
    a, b = ([pair[k] for pair in both] for k in (0, 1))
    difference = 100 * (column(a, "gain") - column(b, "gain"))
    return points(a), with_interval("+.1f", mean, difference), str(len(both))


def part_text(rows: list[Row]) -> str:
    """Gain and paired difference to the full attack, on the images that all parts have."""
    lines = {label: {"": label} for label in PARTS}
    for model in PART_MODELS:
        mine = of(rows, model=model, queries=PART_QUERIES, box=BOX, seed=0, boundary=0.0)
        mine = shared(of(mine, attack=spec) for spec in part_specs().values())
        for label, spec in part_specs().items():
            part = of(mine, attack=spec)
            gain, difference, images = beside(part, of(mine, attack=OURS))
            lines[label] |= {
                model: gain,
                f"{model}, difference": difference,
                f"{model}, spent": f"{column(part, 'spent').mean():.0f}" if part else "–",
                f"{model}, images": images,
            }
    return markdown(list(lines.values()))


# -- constants ------------------------------------------------------------------------------------


def constant_specs() -> dict[str, str]:
    """Specs, by the constant that is changed; the unchanged attack first."""
    changed = [f"{name}={value}" for name, values in CONSTANTS.items() for value in values]
    return {"as it is": OURS} | {given: f"{OURS}:{given}" for given in changed}


def constant_cells(options: argparse.Namespace) -> list[Cell]:
    """The built-in model and the sample set: neither CNNIQA nor the development images."""
    if "builtin" not in options.models:
        return []
    return [
        Cell("builtin", BOX, PART_QUERIES, spec, images="samples")
        for spec in constant_specs().values()
    ]


def constant_text(rows: list[Row]) -> str:
    """Gain and paired difference to the default values."""

    def of_spec(given: list[Row], spec: str) -> list[Row]:
        return of(given, model="builtin", queries=PART_QUERIES, attack=spec, images="samples")

    rows = shared(of_spec(rows, spec) for spec in constant_specs().values())
    lines = []
    for label, spec in constant_specs().items():
        gain, difference, images = beside(of_spec(rows, spec), of_spec(rows, OURS))
        lines.append({"": label, "gain": gain, "difference": difference, "images": images})
    return markdown(lines)


# -- equal SSIM -----------------------------------------------------------------------------------


def ssim_cells(options: argparse.Namespace) -> list[Cell]:
    """Attacks in boxes of several sizes."""
    if "cnniqa" not in options.models:
        return []
    return [
        Cell("cnniqa", box, queries, attack)
        for queries, attacks in SSIM_ATTACKS.items()
        for box in BOXES
        for attack in attacks
    ]


def ssim_curves(rows: list[Row], queries: int) -> dict[str, Curve]:
    """SSIM and gain in points of each attack in boxes of several sizes."""
    mine = of(rows, model="cnniqa", queries=queries, seed=0)
    return curves(mine, SSIM_ATTACKS[queries], BOXES, "ssim", 1.0)


def ssim_lines(found: dict[str, Curve]) -> list[dict[str, str]]:
    """Gain at equal SSIM."""
    return equal_lines(found, SSIMS, "SSIM", OURS)


def ssim_text(rows: list[Row]) -> str:
    """Gain at equal SSIM for each budget, and a plot of all curves."""
    mpl.use("Agg")
    all_curves = {queries: ssim_curves(rows, queries) for queries in SSIM_ATTACKS}
    panels = [queries for queries, found in all_curves.items() if found]
    across = max(len(panels), 1)
    figure, axes = plt.subplots(
        1, across, figsize=(7 * across, 5), sharey=True, squeeze=False, constrained_layout=True
    )
    parts = [f"![Gain against SSIM]({PLOT.name})"]
    for axis, queries in zip(axes[0], panels, strict=False):
        draw(axis, all_curves[queries], "SSIM", OURS)
        axis.set_title(f"{queries:,} queries")
        axis.set_ylabel("mean gain, points of 100")
        axis.set_xlim(1.0, 0.9)
        axis.legend(fontsize="x-small", ncols=2)
    for queries, found in all_curves.items():
        parts.append(f"{queries:,} queries:\n\n{markdown(ssim_lines(found))}")
    figure.savefig(PLOT, dpi=90)
    plt.close(figure)
    return "\n\n".join(parts)


# -- less information -----------------------------------------------------------------------------


def answer_cells(options: argparse.Namespace) -> list[Cell]:
    """Whole points, and yes or no."""
    if "cnniqa" not in options.models:
        return []
    whole = [
        Cell(model, BOX, ANSWER_QUERIES, attack)
        for model in ("cnniqa", "cnniqa, whole points")
        for attack in BY_SCORE
    ]
    boundary = [
        Cell("cnniqa", "linf:8", ANSWER_QUERIES, attack, boundary=BOUNDARY)
        for attack in BY_BOUNDARY
    ]
    gate = [
        Cell("cnniqa, yes or no", "linf:8", ANSWER_QUERIES, attack, boundary=1.0)
        for attack in BY_BOUNDARY
    ]
    return [*whole, *boundary, *gate]


def answer_text(rows: list[Row]) -> str:
    """Three tables: scores in whole points, a score boundary, a gate."""
    whole = []
    for attack in BY_SCORE:
        line = {"attack": attack}
        for model in ("cnniqa", "cnniqa, whole points"):
            mine = of(rows, model=model, box=BOX, queries=ANSWER_QUERIES, attack=attack, seed=0)
            line[model] = points(mine) if len(mine) > 1 else "–"
            line["images"] = str(len(mine))
        whole.append(line)
    tables = [
        f"Scores rounded to whole points, `{BOX}`, {ANSWER_QUERIES} queries; gain in points of "
        f"100:\n\n{markdown(whole)}"
    ]
    for model, width, boundary, what in (
        ("cnniqa", 100.0, BOUNDARY, f"A score boundary at {BOUNDARY} of the way, with scores"),
        ("cnniqa, yes or no", 1.0, 1.0, "A gate that says only whether it accepts an image"),
    ):
        crossed = {}
        for attack in BY_BOUNDARY:
            mine = of(
                rows, model=model, box="linf:8", queries=ANSWER_QUERIES, attack=attack,
                boundary=boundary,
            )  # fmt: skip
            went = progress(column(mine, "gain"), [_reach(row, width) for row in mine])
            # Without a direction: images that the gate already accepts.
            refused = int((~np.isnan(went)).sum())
            crossed[attack] = (
                [row for row, way in zip(mine, went, strict=True) if way >= boundary - 1e-9],
                refused,
            )
        common = set.intersection(*({row.image for row in part} for part, _ in crossed.values()))
        lines = []
        for attack, (part, refused) in crossed.items():
            both = [row for row in part if row.image in common]
            if len(both) > 1:
                lines.append(
                    {
                        "attack": attack,
                        "crossed": f"{len(part)} of {refused}",
                        "RMS, grey levels": with_interval(".2f", mean, column(both, "rms")),
                        "SSIM": with_interval(".3f", mean, column(both, "ssim")),
                    }
                )
        if lines:
            tables.append(
                f"{what}, `linf:8`, {ANSWER_QUERIES} queries; appearance of the {len(common)} "
                f"images that all attacks take across it:\n\n{markdown(lines)}"
            )
    return "\n\n".join(tables)


def _reach(row: Row, width: float) -> float:
    """The largest gain that a range from 0 to width leaves; its sign is that of the direction."""
    rising = row.attacked >= row.clean
    return (width - row.clean if rising else row.clean) / width


# -- models of colour -----------------------------------------------------------------------------


def colour_cells(_: argparse.Namespace) -> list[Cell]:
    """Models of colour, whose scores depend neither on quality nor on texture."""
    return [Cell(model, BOX, PART_QUERIES, attack) for model in COLOUR for attack in BY_COLOUR]


def colour_text(rows: list[Row]) -> str:
    """Mean gain, relative to the largest gain of any of the attacks on each image."""
    lines = {attack: {"attack": attack} for attack in BY_COLOUR}
    for model in COLOUR:
        found = [
            column(of(rows, model=model, queries=PART_QUERIES, attack=attack), "gain")
            for attack in BY_COLOUR
        ]
        if len({len(gains) for gains in found}) > 1 or len(found[0]) < FEWEST:
            continue
        most = np.max(found, axis=0)
        for attack, gains in zip(BY_COLOUR, found, strict=True):
            lines[attack][model] = with_interval(".2f", mean, gains / most)
            lines[attack]["images"] = str(len(gains))
    return markdown(list(lines.values()) if len(lines[OURS]) > 1 else [])


# -- profile --------------------------------------------------------------------------------------


def profile_cells(options: argparse.Namespace) -> list[Cell]:
    """With and without a profile, which is made first if it does not exist."""
    if "cnniqa" not in options.models:
        return []
    if not (ROOT / PROFILE).is_file():
        learn()
    return [
        Cell("cnniqa", BOX, queries, attack)
        for queries in PROFILED
        for attack in (OURS, f"{OURS}:profile={PROFILE}")
    ]


def learn() -> None:
    """The profile of the images with odd numbers."""
    images = dev_images()
    model = scorer("cnniqa")
    settings = Settings(
        images=("shared/data/dev",), model=model.name, attack=OURS, constraint=BOX, queries=500
    )
    taught = ImageSet(tuple(images.entries[k] for k in TAUGHT))
    folder = ROOT / "benchmarks" / "out" / "profile-cnniqa"
    profile = make_profile(
        folder, settings, taught, model, resume=(folder / "profile.toml").is_file()
    )
    (ROOT / PROFILE).parent.mkdir(exist_ok=True)
    (ROOT / PROFILE).write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")


def profile_text(rows: list[Row]) -> str:
    """Gain at a few queries, with and without, and what learning cost."""
    names = [dev_images().entries[k].name for k in REPORTED]
    lines = []
    for queries in PROFILED:
        without, taught = (
            [r for r in of(rows, model="cnniqa", box=BOX, queries=queries, attack=attack, seed=0)
             if r.image in names]
            for attack in (OURS, f"{OURS}:profile={PROFILE}")
        )  # fmt: skip
        if [r.image for r in without] != [r.image for r in taught] or len(taught) < FEWEST:
            continue
        scores = [
            column(part, name) for part in (without, taught) for name in ("clean", "attacked")
        ]
        lines.append(
            {
                "queries": str(queries),
                "gain without": points(without),
                "with the profile": points(taught),
                "difference": beside(taught, without)[1],
                "SROCC without": correlation(without),
                "SROCC with it": correlation(taught),
                "change": with_interval("+.2f", _fall, *scores),
                "images": str(len(taught)),
            }
        )
    if not lines:
        return markdown(lines)
    cost = read_profile(ROOT / PROFILE)
    return (
        f"{markdown(lines)}\n\nThe profile cost {cost.queries} queries on {len(cost.images)} "
        "images; the budgets above do not count them."
    )


def _fall(clean: Floats, attacked: Floats, clean_too: Floats, attacked_too: Floats) -> float:
    return srocc(clean_too, attacked_too) - srocc(clean, attacked)


SECTIONS = {
    "gain": Section(
        f"Gain in `{BOX}`: means over seeds, 95 % intervals over images", gain_cells, gain_text
    ),
    "strongest": Section(
        f"Compared with the strongest other attacks: CNNIQA, `{BOX}`, {max(BUDGETS):,} queries",
        strongest_cells,
        strongest_text,
    ),
    "parts": Section(f"What each part contributes, {PART_QUERIES} queries", part_cells, part_text),
    "constants": Section(
        f"Other constants: the built-in model, the sample set, {PART_QUERIES} queries",
        constant_cells,
        constant_text,
    ),
    "ssim": Section(
        f"At equal SSIM: CNNIQA, boxes from {BOXES[0]} to {BOXES[-1]}",
        ssim_cells,
        ssim_text,
    ),
    "answers": Section("With less information than scores", answer_cells, answer_text),
    "colour": Section(
        "Scores of colour alone: share of the largest gain that any of these has, "
        f"{PART_QUERIES} queries",
        colour_cells,
        colour_text,
        COLOUR_IMAGES,
    ),
    "profile": Section(
        "With a profile of CNNIQA: learnt from 12 images, reported on the other 12",
        profile_cells,
        profile_text,
        REPORTED,
    ),
}


def write_page(rows: list[Row], failed: str) -> None:
    """The page of all sections; failed: a sentence on rows that are left out."""
    note = (ROOT / "benchmarks" / "filter_search.md").read_text(encoding="utf-8")
    parts = [f"## {section.title}\n\n{section.text(rows)}" for section in SECTIONS.values()]
    write_doc(
        PAGE,
        "How much filter-search gains",
        "python benchmarks/filter_search.py",
        f"{note}\n{failed}" + "\n\n".join(parts),
    )


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=list(SECTIONS))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--queries", nargs="+", type=int, default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, choices=SEEDS)
    parser.add_argument("--limit", type=int, default=24, help="images, of 24")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="two images, no page")
    options = parser.parse_args()
    shared_data()
    print(machine())
    if options.quick:
        cells = [Cell("cnniqa", BOX, 40, spec) for spec in part_specs().values()]
        rows = list(compute(missing(cells, 2, []), options.workers))
        for label, spec in part_specs().items():
            print(f"{label}: {points(of(rows, attack=spec))}")
        return
    if not options.report:
        for name in options.sections:
            section = SECTIONS[name]
            cells = section.cells(options)
            complete(ROWS, cells, options.limit, options.workers, section.images)
    write_page(*measured(ROWS))


if __name__ == "__main__":
    main()
