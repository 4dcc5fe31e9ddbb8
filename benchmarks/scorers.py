"""The models of the long benchmarks, by short names: real ones, and synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional

from common import brisque, cnniqa, niqe, piqe, scnn
from iqattack.models import Scorer, load_model, score_checked, wrap

ACCEPTED = 40.0  # DMOS of CNNIQA up to which the gate accepts


@cache
def scorer(name: str) -> Scorer:
    """A model by its short name; in this process only."""
    makers = REAL | MADE_UP
    return makers[name]() if name in makers else load_model(name)


def substitute(model: str) -> str:
    """The substitute of `transfer`, which is never the model itself."""
    return "cnniqa" if model == "builtin" else "builtin"


def rounded() -> Scorer:
    """CNNIQA with scores rounded to whole points."""
    model = cnniqa()
    return wrap(
        lambda images: score_checked(model, images).round(),
        name="cnniqa, whole points",
        score_range=model.score_range,
        lower_better=True,
    )


def gate() -> Scorer:
    """CNNIQA as a binary gate: 1 if it accepts an image, else 0."""
    model = cnniqa()
    return wrap(
        lambda images: (score_checked(model, images) <= ACCEPTED).double(),
        name="cnniqa, yes or no",
        score_range=(0.0, 1.0),
        lower_better=False,
    )


def warmth() -> Scorer:
    """Mean red minus mean blue: depends only on the colour cast."""
    return wrap(
        lambda images: (images[:, 0].double() - images[:, 2].double()).mean((1, 2)),
        name="warmth",
        score_range=(-255.0, 255.0),
        lower_better=False,
    )


def colourfulness() -> Scorer:
    """That of Hasler & Süsstrunk (SPIE 2003), M̂(3): spread and mean of two opponent colours."""

    def score(images: torch.Tensor) -> torch.Tensor:
        red, green, blue = images.double().unbind(1)
        opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)
        spread: torch.Tensor = opponents.var((2, 3), correction=0).sum(1).sqrt()
        cast: torch.Tensor = opponents.mean((2, 3)).square().sum(1).sqrt()
        return spread + 0.3 * cast

    return wrap(score, name="colourfulness", score_range=(0.0, 200.0), lower_better=False)


def blocks() -> Scorer:
    """A weighted mean of 7×7 blocks and three channels, some weights negative: no texture."""
    weights = torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    weights /= weights.abs().sum()

    def score(images: torch.Tensor) -> torch.Tensor:
        means: torch.Tensor = functional.adaptive_avg_pool2d(images.double(), 7)
        return (means * weights).sum((1, 2, 3))

    return wrap(score, name="linear in blocks", score_range=(-255.0, 255.0), lower_better=False)


REAL: dict[str, Callable[[], Scorer]] = {
    "cnniqa": cnniqa,
    "scnn": scnn,
    "brisque": brisque,
    "niqe": niqe,
    "piqe": piqe,
}
MADE_UP: dict[str, Callable[[], Scorer]] = {
    "cnniqa, whole points": rounded,
    "cnniqa, yes or no": gate,
    "warmth": warmth,
    "colourfulness": colourfulness,
    "linear in blocks": blocks,
}
