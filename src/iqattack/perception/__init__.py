"""Visual perception: luma, edges, saliency, just-noticeable differences, similarity, visibility."""

from iqattack.perception.contrast import OFFICE, SENSITIVITIES, ContrastBands, Display, Planes
from iqattack.perception.edges import canny
from iqattack.perception.flip import Flip
from iqattack.perception.jnd import JND_MODELS, canny_structure, liu2010, yang2005
from iqattack.perception.jod import LEAST_SIDE, NO_DIFFERENCE, ColorVideoVdp
from iqattack.perception.patterns import Signs, patterns
from iqattack.perception.pixels import LUMA, bands, grey_array, locally_normalised, luma
from iqattack.perception.saliency import saliency, salient_region
from iqattack.perception.similarity import (
    SSIM_WINDOW,
    jnd_violation,
    linf,
    ms_ssim,
    psnr,
    rms,
    ssim,
)
from iqattack.perception.viewing import Viewing

__all__ = [
    "JND_MODELS",
    "LEAST_SIDE",
    "LUMA",
    "NO_DIFFERENCE",
    "OFFICE",
    "SENSITIVITIES",
    "SSIM_WINDOW",
    "ColorVideoVdp",
    "ContrastBands",
    "Display",
    "Flip",
    "Planes",
    "Signs",
    "Viewing",
    "bands",
    "canny",
    "canny_structure",
    "grey_array",
    "jnd_violation",
    "linf",
    "liu2010",
    "locally_normalised",
    "luma",
    "ms_ssim",
    "patterns",
    "psnr",
    "rms",
    "saliency",
    "salient_region",
    "ssim",
    "yang2005",
]
