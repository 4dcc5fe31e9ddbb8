"""Make a universal perturbation from scores, and apply one to pictures, without queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks import Task
from iqattack.attacks.set_based import universal_ways as ways
from iqattack.attacks.shared.painting.layer import Layer
from iqattack.catalogue import defaults
from iqattack.constraints import Constraint, Linf, parse_constraint
from iqattack.directions import Pattern, Perturbation, Tile, Universal, read_universal
from iqattack.engine import allowed, image_generator
from iqattack.errors import InputError, RunError, unknown
from iqattack.images import ImageEntry, ImageSet, encode_png, read_image, write_bytes, write_png
from iqattack.models import Scorer
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import cannot_write
from iqattack.runs.how import DEFAULT_HOW, How
from iqattack.runs.learning import Kind, learning
from iqattack.runs.settings import Record, Settings
from iqattack.samples import photographs
from iqattack.scoring import check_quality
from iqattack.version import __version__

FILE = "perturbation.safetensors"
PICTURE = "perturbation.png"
MOST = 8  # patterns per direction
SHOWN, GREY = 224, 128  # of a pattern's picture: its side, and the grey level of no change
BOX = 8  # grey levels of change, magnified to black and white
FEWEST = 8  # queries per image


@dataclass(frozen=True)
class Laid:
    """A picture to which a pattern was applied. path: of the written file."""

    entry: ImageEntry
    path: Path


def make_universal(
    folder: Path,
    settings: Settings,
    images: ImageSet,
    scorer: Scorer,
    *,
    way: str = "filter",
    most: int = MOST,
    minibatch: int = ways.MINIBATCH,
    jpeg: int | None = None,
    resume: bool = False,
    by_spec: bool = False,
    how: How = DEFAULT_HOW,
    callbacks: Callbacks | None = None,
) -> Perturbation:
    """Learn patterns that move a model's scores on any image, and write them.

    settings: `queries` is the budget for all images together, clean ones included. way: one of
    `universal_ways.WAYS`. most: patterns per direction; minibatch: images on which a candidate is
    tried. jpeg: quality at which images, clean ones included, are recompressed before they are
    scored, so that the patterns survive it; None for no JPEG. Other arguments as in `execute`.

    folder/universal.toml: the settings; queries.sqlite: every score, so that no query is repeated;
    perturbation.safetensors: for the attack `universal` and `apply_universal`; perturbation.png: a
    picture of each pattern. Raises InputError for arguments that cannot be used and if nothing
    gains, RunError for a folder that does not fit, Interrupted when asked to stop.
    """
    if way not in ways.WAYS:
        raise unknown("way", way, list(ways.WAYS))
    if most < 1 or minibatch < 1:
        raise InputError(f"k {most}, minibatch {minibatch}: expected at least 1")
    if jpeg is not None:
        check_quality(jpeg)
    if settings.queries < FEWEST * len(images):
        raise InputError(
            f"queries {settings.queries}: expected at least {FEWEST * len(images)}, {FEWEST} for "
            f"each of {len(images)} images; use more, or fewer images with --limit"
        )
    if ":" in settings.objective or settings.objective == "farther":
        raise InputError(
            f"objective '{settings.objective}': expected rank, up or down; a universal "
            "perturbation moves all scores in one direction"
        )
    notify = callbacks or Callbacks()
    record = Record.now(settings, scorer, how.retry)
    what = f"universal {way}, at most {most} patterns, {minibatch} images at a time"
    if jpeg is not None:
        what += f", scored after JPEG {jpeg}"
    # Not an option of an attack, but needed to resume.
    record = record.model_copy(update={"settings": settings.model_copy(update={"attack": what})})
    with learning(
        Kind("universal perturbation", "universal.toml"),
        folder,
        settings,
        record,
        images,
        scorer,
        ways.learning(way, settings.queries, most=most, minibatch=minibatch, note=notify.note),
        queries=settings.queries,
        total=settings.queries,
        resume=resume,
        by_spec=by_spec,
        how=how,
        notify=notify,
        jpeg=jpeg,
    ) as (value, spent):
        if value is None:  # the engine ended a search that asked nothing new
            raise InputError(
                f"{folder}: after {spent:,} queries, patterns give no new images within "
                f"{settings.constraint}; use a wider constraint or larger images, with another "
                "--out"
            )
        (up, tiles_up), (down, tiles_down) = cast(tuple[ways.Learnt, ways.Learnt], value)
        if not up and not down:
            raise InputError(
                f"{folder}: no image has a score that can move; use other images or the model's "
                "true score range"
            )
        learnt = Universal(
            format=2 if any(known.beside for known in (*up, *down)) else 1,
            version=__version__,
            model=scorer.name,
            images=tuple(entry.name for entry in images),
            constraint=settings.constraint,
            objective=settings.objective,
            way=way,
            seed=settings.seed,
            queries=spent,
            jpeg=jpeg,
            up=tuple(up),
            down=tuple(down),
        )
        perturbation = Perturbation(learnt, tiles_up | tiles_down)
        write_bytes(folder / FILE, perturbation.to_bytes())
        write_bytes(folder / PICTURE, encode_png(picture(perturbation)))
    return perturbation


# -- on pictures ----------------------------------------------------------------------------------


def apply_universal(
    file: Path,
    images: ImageSet,
    out: Path,
    *,
    rising: bool | None = None,
    number: int = 1,
    constraint: str | None = None,
    seed: int = defaults.SEED,
    convert: bool = False,
    resize: int | None = None,
    callbacks: Callbacks | None = None,
) -> list[Laid | InputError]:
    """Apply a pattern to pictures of any size, without queries; each becomes a PNG in `out`.

    rising: whether raw scores should rise; None for the only direction that was learnt. number: of
    the pattern, from 1. constraint: on the pictures; None for the one that it was learnt with.
    seed: that of the run whose pictures to reproduce, if a pattern has noise.

    Returns the outcome for each image: one that cannot be read is an InputError, and the others
    continue. Raises InputError for a file or number that does not fit, RunError for an `out` that
    is in use.
    """
    notify = callbacks or Callbacks()
    perturbation = read_universal(file)
    learnt = perturbation.learnt
    if rising is None:
        if learnt.up and learnt.down:
            raise InputError(f"{file}: was learnt for both directions; choose up or down")
        rising = bool(learnt.up)
    patterns = perturbation.patterns(rising=rising)
    way = "up" if rising else "down"
    if not 1 <= number <= len(patterns):
        there = f"has patterns 1 to {len(patterns)}" if patterns else "has no patterns"
        raise InputError(
            f"{file}: {there} for {way}, not {number}; choose another direction or number"
        )
    box = parse_constraint(learnt.constraint if constraint is None else constraint)
    box.check()
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise cannot_write(out, error) from None
    if used:
        raise RunError(f"{out}: is not empty; use another --out")
    found: list[Laid | InputError] = []
    for done, entry in enumerate(images, 1):
        try:
            clean = read_image(entry.path, convert=convert, resize=resize)
        except InputError as error:
            found.append(error)
        else:
            for phrase in clean.notes:
                notify.note(entry.name, phrase)
            rng = image_generator(seed, entry.name)
            path = out / entry.png_name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, laid(patterns[number - 1], clean.pixels, box, rng, rising=rising))
            found.append(Laid(entry, path))
        notify.checked(done, len(images))
    return found


def laid(
    pattern: Pattern,
    image: Tensor,
    constraint: Constraint,
    rng: torch.Generator,
    *,
    rising: bool,
) -> Tensor:
    """An image (3, H, W) uint8 with a pattern, as the engine would score it."""
    region = constraint.around(image)
    task = Task(
        image8=image,
        lower8=region.lower,
        upper8=region.upper,
        project=region.project,
        queries=1,
        reach=1.0,
        boundary=None,
        rng=rng,
        rising=rising,
    )
    return allowed(Layer(task)(pattern)[None], region)[0]


def picture(perturbation: Perturbation) -> Tensor:
    """A picture (3, H, W) uint8 of all patterns, those for up above those for down, the first on
    the left.

    A tile without a filter is shown as repeated grey levels, any other pattern as its magnified
    change of a photograph.
    """
    photo = torch.from_numpy(photographs()["chelsea"].copy()).permute(2, 0, 1)
    photo = photo[:, :SHOWN, 100 : 100 + SHOWN].contiguous()
    grey = torch.full_like(photo, GREY)
    rows = []
    for rising in (True, False):
        row = []
        for pattern in perturbation.patterns(rising=rising):
            alone = isinstance(pattern, Tile) and pattern.filter is None
            under = grey if alone else photo
            rng = image_generator(perturbation.learnt.seed, "")
            after = laid(pattern, under, Linf(BOX), rng, rising=rising)
            change = (after.int() - under) * (GREY // BOX)
            row.append((change + GREY).clamp(0, 255).to(torch.uint8))
        if row:
            rows.append(torch.cat(row, 2))
    width = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, width - row.shape[2]), value=255) for row in rows], 1)
