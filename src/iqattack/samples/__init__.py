"""Sample images: photographs, graded distortions and pseudo-MOS."""

from iqattack.samples.distortions import DISTORTIONS, distort
from iqattack.samples.labels import pseudo_mos
from iqattack.samples.photos import MOS, photographs, sample_set, write_samples

__all__ = [
    "DISTORTIONS",
    "MOS",
    "distort",
    "photographs",
    "pseudo_mos",
    "sample_set",
    "write_samples",
]
