"""A floor under the similarity to the clean picture, held locally."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from iqattack.constraints.metric import LEAST, check_jod, metric
from iqattack.errors import InputError, unknown
from iqattack.perception import SSIM_WINDOW, ssim
from iqattack.specs import number, text

Project = Callable[[Tensor], Tensor]
SLACK = 2e-3  # JOD that differ between machines
HALVINGS = 8  # 1/256 of a perturbation: finer steps vanish in the rounding


class Floor(Protocol):
    """A similarity that no picture may fall below: none that is scored, or only the result."""

    @property
    def spec(self) -> str:
        """Canonical text form, which `parse_floor` reads back."""
        ...

    @property
    def of_result(self) -> bool:
        """Whether only the picture that is kept has to be above: where measuring takes long."""
        return False

    def check(self) -> None:
        """InputError where it needs what is not installed; called before anything is asked."""
        return

    def loosened(self) -> Floor:
        """What a picture that was held to this floor on another machine is sure to be above."""
        return self

    def enforce(self, image: Tensor, rounded: Tensor, project: Project | None = None) -> Tensor:
        """Pull candidates under the floor straight back towards the clean picture.

        image: (3, H, W), whole grey levels 0..255; rounded: (N, 3, H, W) float, likewise. project:
        that of a region that is more than a box, which a shortened picture, rounded, may leave.
        Returns (N, 3, H, W) whole grey levels, each between the image and its candidate, so no box
        is left; candidates at or above the floor come back as they are. What becomes of one never
        depends on the others.
        """
        image = image.to(rounded)
        kept = [self._pulled_back(image, candidate, project) for candidate in rounded]
        return torch.stack(kept) if kept else rounded

    def _pulled_back(self, image: Tensor, candidate: Tensor, project: Project | None) -> Tensor:
        """Bisect the share t of the perturbation that is kept; t = 0 always satisfies."""
        if self.satisfied(image, candidate):
            return candidate
        best, low, high = image, 0.0, 1.0
        for _ in range(HALVINGS):
            t = (low + high) / 2
            shorter = torch.round(image + t * (candidate - image))
            if project is not None:
                shorter = project(shorter[None])[0].round()
            if self.satisfied(image, shorter):
                best, low = shorter, t
            else:
                high = t
        return best

    def satisfied(self, image: Tensor, candidate: Tensor) -> bool:
        """Whether a picture (3, H, W) is at or above the floor; the image itself is."""
        ...


@dataclass(frozen=True)
class SsimFloor(Floor):
    """SSIM to the clean picture at least `least`, strictly between 0 and 1."""

    least: float

    def __post_init__(self) -> None:
        if not 0.0 < self.least < 1.0:
            raise InputError(f"floor '{self.spec}': expected an SSIM between 0 and 1, e.g. 0.95")

    @property
    def spec(self) -> str:
        """`ssim:LEAST`."""
        return f"ssim:{text(self.least)}"

    def enforce(self, image: Tensor, rounded: Tensor, project: Project | None = None) -> Tensor:
        """See `Floor`; InputError for a picture of which SSIM is not defined."""
        height, width = image.shape[-2:]
        if min(height, width) < SSIM_WINDOW:
            raise InputError(
                f"floor '{self.spec}': a picture of {width}×{height} pixels has no SSIM, "
                f"expected at least {SSIM_WINDOW}×{SSIM_WINDOW}, or no floor"
            )
        return super().enforce(image, rounded, project)

    def satisfied(self, image: Tensor, candidate: Tensor) -> bool:
        """See `Floor`."""
        return ssim(image, candidate).item() >= self.least


@dataclass(frozen=True)
class JodFloor(Floor):
    """JOD of the result at least `least`, by ColorVideoVDP; between 5 and 10.

    The search goes where it likes. Its best picture is then brought back towards the image as far
    as it takes, and scored again, at one query that is kept for it.
    """

    least: float

    def __post_init__(self) -> None:
        check_jod(self.least, f"floor '{self.spec}'", "jod:9.5")

    @property
    def spec(self) -> str:
        """`jod:LEAST`."""
        return f"jod:{text(self.least)}"

    @property
    def of_result(self) -> bool:
        """True."""
        return True

    def loosened(self) -> Floor:
        """Less by what JOD differ between machines."""
        return JodFloor(max(self.least - SLACK, (LEAST + self.least) / 2.0))

    def check(self) -> None:
        """InputError without ColorVideoVDP."""
        metric()

    def satisfied(self, image: Tensor, candidate: Tensor) -> bool:
        """See `Floor`; pictures too small to be measured are."""
        return not float(metric().jod(image, candidate)) < self.least


EXAMPLES = {"ssim": "ssim:0.95", "jod": "jod:9.5"}
FLOORS: dict[str, Callable[[float], Floor]] = {"ssim": SsimFloor, "jod": JodFloor}


def parse_floor(spec: str) -> Floor:
    """Read a floor such as `ssim:0.95` or `jod:9.5`; InputError if it is not one."""
    name, _, value = spec.partition(":")
    if name not in FLOORS:
        raise unknown("floor", name, FLOORS)
    return FLOORS[name](number(spec, value, EXAMPLES[name]))
