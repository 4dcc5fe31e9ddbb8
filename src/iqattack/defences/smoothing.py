"""Median smoothing, and what it certifies (Chiang et al., NeurIPS 2020; for quality models
Gushchin et al., arXiv 2411.12575).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iqattack.defences.base import Passes
from iqattack.defences.noise import Noise
from iqattack.errors import InputError


class Smoothing(Noise):
    """The median over noisy passes; of an even number, the lower of the two in the middle."""

    name: ClassVar[str] = "smoothing"
    passes: Passes = 25

    def together(self, scores: Sequence[float]) -> float:
        """See `Randomised`."""
        return float(np.sort(np.asarray(scores))[(len(scores) - 1) // 2])


def certified_bounds(
    scores: Sequence[float], sigma: float, radius: float, confidence: float = 0.999
) -> tuple[float, float]:
    """Between what the score of a smoothed image stays, whatever change of that size is made.

    scores: of noisy passes of the unchanged image. sigma: of the noise, radius: L2 norm of a
    change, both in grey levels. The bounds are of the median over all noise there is, and hold with
    that confidence; infinite where there are too few passes to say. They are of Gaussian noise,
    which clipping and rounding to 8 bits changes a little.

    Raises InputError for values that are none. Chiang et al., NeurIPS 2020, section 4.
    """
    if not (sigma > 0.0 and radius >= 0.0 and 0.0 < confidence < 1.0) or np.isnan(scores).any():
        raise InputError(
            f"sigma {sigma}, radius {radius}, confidence {confidence}: expected sigma above 0, "
            "radius of at least 0, confidence between 0 and 1, and scores that are numbers"
        )
    from scipy.stats import binom, norm  # noqa: PLC0415 - takes a second, and few call this

    ordered, n = np.sort(np.asarray(scores, float)), len(scores)
    # At least this many scores are below the quantile Φ(−r/σ), and as many above Φ(r/σ).
    beyond = int(binom.ppf((1.0 - confidence) / 2.0, n, norm.cdf(-radius / sigma)))
    if beyond < 1:
        return -math.inf, math.inf
    return float(ordered[beyond - 1]), float(ordered[n - beyond])
