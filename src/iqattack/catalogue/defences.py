"""What commands say about defences: the form of their specs, what they do, their sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DefenceText:
    """One defence.

    name: its name. form: the form of its spec. summary: one line. limits: of its values, in a
    phrase. paper: its source. spec: an example.
    """

    name: str
    form: str
    summary: str
    limits: str
    paper: str
    spec: str


_XU = "Xu, Evans & Qi, NDSS 2018"
_PRESET = "preset of Gushchin et al., arXiv 2408.01541"

DEFENCES: dict[str, DefenceText] = {
    text.name: text
    for text in (
        DefenceText(
            "jpeg",
            "jpeg:QUALITY",
            "JPEG compression",
            "the quality is from 1 to 100",
            f"Dziugaite et al., arXiv 1608.00853; {_PRESET}: 10 to 90",
            "jpeg:75",
        ),
        DefenceText(
            "webp",
            "webp:QUALITY",
            "lossy WebP compression",
            "the quality is from 1 to 100",
            "-",
            "webp:75",
        ),
        DefenceText(
            "resize",
            "resize:SHARE",
            "downscaling to a share of each side, and back up",
            "the share is from 0.001 to 1",
            "Guo et al., ICLR 2018",
            "resize:0.5",
        ),
        DefenceText(
            "bits",
            "bits:DEPTH",
            "fewer bits per channel",
            "the depth is from 1 to 8",
            _XU,
            "bits:4",
        ),
        DefenceText(
            "median",
            "median:SIZE",
            "median filter",
            "the size is odd, from 3 to 99 pixels",
            _XU,
            "median:3",
        ),
        DefenceText(
            "blur",
            "blur:SIZE",
            "Gaussian blur",
            "the size of the kernel is odd, from 3 to 99 pixels",
            f"{_PRESET}: 3 to 11",
            "blur:3",
        ),
        DefenceText(
            "unsharp",
            "unsharp:AMOUNT",
            "unsharp masking",
            "the amount is above 0 and at most 10",
            "Gushchin et al., arXiv 2408.01541",
            "unsharp:1",
        ),
        DefenceText(
            "tv",
            "tv:WEIGHT",
            "total variation minimisation",
            "the weight is above 0 and at most 10, of pixels from 0 to 1",
            "Guo et al., ICLR 2018",
            "tv:0.05",
        ),
        DefenceText(
            "crop",
            "crop:SHARE[:PASSES]",
            "random crops to a share of each side, scores averaged",
            "the share is from 0.001 to 1, passes are from 1 to 10,000, 1 by default",
            "Guo et al., ICLR 2018",
            "crop:0.9:4",
        ),
        DefenceText(
            "flip",
            "flip[:PASSES]",
            "random mirroring, scores averaged",
            "passes are from 1 to 10,000, 1 by default",
            "Gushchin et al., arXiv 2408.01541",
            "flip",
        ),
        DefenceText(
            "noise",
            "noise:SIGMA[:PASSES]",
            "Gaussian noise on the image, scores averaged",
            "the deviation is above 0 and at most 255 grey levels, passes are from 1 to 10,000, 1 "
            "by default",
            "Byun et al., WACV 2022",
            "noise:3:4",
        ),
        DefenceText(
            "smoothing",
            "smoothing:SIGMA[:PASSES]",
            "the median over noisy passes, with a certificate",
            "the deviation is above 0 and at most 255 grey levels, passes are from 1 to 10,000, 25 "
            "by default",
            "Chiang et al., NeurIPS 2020; Gushchin et al., arXiv 2411.12575",
            "smoothing:12:25",
        ),
        DefenceText(
            "round",
            "round:POINTS",
            "scores rounded to multiples of a percentage of their range",
            "points are from 0.001 to 100",
            "-",
            "round:5",
        ),
        DefenceText(
            "score-noise",
            "score-noise:POINTS",
            "Gaussian noise on scores, as a percentage of their range",
            "points are from 0.001 to 100",
            "-",
            "score-noise:1",
        ),
        DefenceText(
            "aaa",
            "aaa:POINTS[:linear|sine]",
            "scores reshaped so that small steps seem to lead the other way",
            "points, the length of an interval, are from 0.001 to 100; linear by default",
            "Chen et al., NeurIPS 2022",
            "aaa:5",
        ),
    )
}
