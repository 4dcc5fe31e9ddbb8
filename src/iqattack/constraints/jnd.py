"""Each pixel may change as far as an eye does not notice."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from iqattack.constraints.base import Constraint, Region, box_around
from iqattack.errors import InputError, unknown
from iqattack.perception import JND_MODELS
from iqattack.specs import text

DEFAULT_MODEL = "liu2010"


@dataclass(frozen=True)
class JndBox(Constraint):
    """No channel may change by more than `scale` times the pixel's just-noticeable difference.

    Yang et al. (arXiv 2401.05217) use a scale of 0.38. `model` is a key of
    `perception.JND_MODELS`. A scale that is not a positive finite number, or an unknown model, is
    an InputError.
    """

    scale: float
    model: str = DEFAULT_MODEL

    def __post_init__(self) -> None:
        if self.model not in JND_MODELS:
            raise unknown("JND model", self.model, JND_MODELS)
        if not (self.scale > 0.0 and math.isfinite(self.scale)):
            raise InputError(
                f"constraint '{self.spec}': expected a scale above 0, such as jnd:0.38"
            )

    @property
    def spec(self) -> str:
        """`jnd:SCALE`, then `:MODEL` unless it is the default."""
        model = "" if self.model == DEFAULT_MODEL else f":{self.model}"
        return f"jnd:{text(self.scale)}{model}"

    def threshold(self, image: Tensor) -> Tensor:
        """Largest change allowed at each pixel, (H, W) float32 grey levels."""
        return self.scale * JND_MODELS[self.model](image).to(image.device)

    def around(self, image: Tensor) -> Region:
        """Whole grey levels within the threshold of the image, the same for all channels."""
        return Region(*box_around(image, self.threshold(image)))
