"""Bands as wide as a promise about visibility allows: found for each picture, at no query."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from iqattack.constraints.bands import Bands, BandsRegion
from iqattack.constraints.base import Constraint, Region
from iqattack.constraints.metric import check_jod, metric
from iqattack.paths import user_folder
from iqattack.perception import (
    LEAST_SIDE,
    NO_DIFFERENCE,
    ContrastBands,
    Signs,
    patterns,
)
from iqattack.specs import text

START = 2.5  # scale that is tried first
STEP = 0.01  # of scales: finer ones make no other picture
FEWEST, MOST = 0.05, 20.0  # scales
GROWTH = 2.1  # a loss of JOD is about a scale to this power
PATCHWORK, PATCH = "the worst of each patch", 32  # pixels
WORST = 4  # patterns that are looked at again, of all
TINY = 1e-4  # JOD, as small a loss as is measured
TRIES = 6  # scales, at most


@dataclass(frozen=True)
class JodBands(Constraint):
    """`bands:` at the largest scale at which the worst of all patterns keeps `least` JOD.

    Patterns are those of `perception.patterns`, at the ends of what the scale allows; JOD are
    ColorVideoVDP's, on its `standard_fhd`. A value that is not between 5 and 10 is an InputError.
    """

    least: float
    scale: float | None = None  # where it is known

    def __post_init__(self) -> None:
        check_jod(self.least, f"constraint '{self.spec}'", "jod:9.75")

    @property
    def spec(self) -> str:
        """`jod:LEAST`."""
        return f"jod:{text(self.least)}"

    def check(self) -> None:
        """InputError without ColorVideoVDP."""
        metric()

    def knowing(self, found: float | None) -> JodBands:
        """At the scale that was found for an image."""
        return replace(self, scale=found)

    def around(self, image: Tensor) -> BandsRegion:
        """The region of `bands:` at the scale of this picture, which is what it finds.

        The scale takes some seconds to find the first time, and is kept in the user's cache.
        """
        scale = scale_of(image, self.least) if self.scale is None else self.scale
        region = Bands(scale).around(image)
        region.found = scale
        return region


def scale_of(image: Tensor, least: float) -> float:
    """The scale of a picture (3, H, W) for a JOD, from the cache or found."""
    metric()  # says what is missing
    pixels = image.to(torch.uint8)
    key = hashlib.sha256(f"{_code()} {least!r} {tuple(pixels.shape)}".encode())
    key.update(pixels.contiguous().numpy().tobytes())
    path = None
    with suppress(RuntimeError):  # a user without a home has no cache
        path = user_folder("cache") / "jod" / key.hexdigest()
    if path is None:
        return find_scale(pixels, least)
    with suppress(OSError, ValueError):
        scale = float(path.read_text(encoding="ascii"))
        if is_scale(scale):
            return scale
    scale = find_scale(pixels, least)
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(f"{scale:.2f}\n", encoding="ascii")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return scale


def is_scale(value: float) -> bool:
    """Whether that may be the scale of a picture."""
    return FEWEST <= value <= MOST


def find_scale(image: Tensor, least: float) -> float:
    """The largest scale at which the worst of all patterns keeps a JOD; FEWEST if none does.

    All patterns are measured at one scale, and a patchwork of those that are seen most in each
    place joins them. The worst are measured at other scales, on a curve through those that are
    known: a loss grows like a power of the scale. Then all of them at the scale that was found;
    those that lose too much there join the worst.
    """
    if min(image.shape[-2:]) < LEAST_SIDE:
        return START  # too small to be measured
    family = dict(patterns(image))
    bands = ContrastBands(image)

    def at(scale: float, signs: Signs) -> Tensor:
        return ends(BandsRegion(image, bands, scale), image, signs)

    def jod(scale: float, signs: Signs) -> float:
        return float(metric().jod(image, at(scale, signs)))

    seen = {name: metric().measure(image, at(START, signs)) for name, signs in family.items()}
    lost = {name: NO_DIFFERENCE - jods for name, (jods, _) in seen.items()}
    family[PATCHWORK] = _patchwork(family, {name: where for name, (_, where) in seen.items()})
    lost[PATCHWORK] = NO_DIFFERENCE - jod(START, family[PATCHWORK])
    worst = sorted(lost, key=lost.__getitem__)[-WORST:]
    known = {START: max(lost.values())}
    allowed = NO_DIFFERENCE - least

    def loss(scale: float, names: Iterable[str] = worst) -> float:
        return max(NO_DIFFERENCE - jod(scale, family[name]) for name in names)

    while True:
        scale = _largest(loss, known, allowed)
        others = {name: loss(scale, [name]) for name in family if name not in worst}
        over = [name for name, lost in others.items() if lost > allowed]
        if not over or scale <= FEWEST:
            return scale
        worst += over
        known = {scale: max(others.values())}


def _patchwork(family: Mapping[str, Signs], lost: Mapping[str, Tensor]) -> Signs:
    """In each patch the pattern that is seen most there; lost: JOD (H, W) in each place."""
    means = [avg_pool2d(where[None, None], PATCH, ceil_mode=True)[0, 0] for where in lost.values()]
    most = torch.stack(means).argmax(0).repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
    signs = np.zeros_like(next(iter(family.values())))
    height, width = signs.shape[1:]
    for number, name in enumerate(lost):
        here = (most[:height, :width] == number).numpy()
        signs[:, here] = family[name][:, here]
    return signs


def ends(region: Region, image: Tensor, signs: Signs) -> Tensor:
    """The picture with a pattern at the ends of a region, (3, H, W) uint8."""
    towards = torch.from_numpy(signs)
    there = torch.where(towards > 0, region.upper, torch.where(towards < 0, region.lower, image))
    return region.project(there[None].float())[0].to(torch.uint8)


def _largest(loss: Callable[[float], float], known: dict[float, float], allowed: float) -> float:
    """The largest scale of a few tries whose loss is allowed; known: losses of some scales."""
    logs = {math.log(scale): math.log(max(lost, TINY) / allowed) for scale, lost in known.items()}
    for _ in range(TRIES):
        good = max((scale for scale, over in logs.items() if over <= 0.0), default=None)
        bad = min((scale for scale, over in logs.items() if over > 0.0), default=None)
        if good is not None and bad is not None:
            tried = good + (bad - good) * logs[good] / (logs[good] - logs[bad])
        else:
            near, over = min(logs.items(), key=lambda item: abs(item[1]))
            tried = near - over / GROWTH
        scale = math.floor(min(max(math.exp(tried), FEWEST), MOST) / STEP) * STEP
        if good is not None and scale <= math.exp(good) + STEP / 2.0:
            break  # no step of the grid lies between
        logs[math.log(scale)] = math.log(max(loss(scale), TINY) / allowed)
    good = max((scale for scale, over in logs.items() if over <= 0.0), default=math.log(FEWEST))
    return round(math.exp(good), 2)


@cache
def _code() -> str:
    """Of all that decides a scale: what is in the cache of another version does not count."""
    here = Path(__file__).parent
    seen = here.parent / "perception"
    files = (here / "bands.py", here / "jod.py", seen / "contrast.py", seen / "patterns.py")
    digest = hashlib.sha256(version("cvvdp").encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
