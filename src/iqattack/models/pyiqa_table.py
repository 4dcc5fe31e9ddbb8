"""What the scores of pyiqa's no-reference metrics mean: ranges, directions and smallest images.

pyiqa 0.1.16 lists a range for each, which it calls a rough estimate. Here a range is *bounded*
where the metric's own last step keeps every score in it, and a *convention* otherwise: the scale of
the opinion scores that it was trained on, or what pyiqa lists. Nothing keeps an attacked image's
score inside a convention. Sources name classes in pyiqa/archs/.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """One metric.

    score_range, lower_better: as a `Scorer` declares them. min_size: the smallest side in pixels
    that it scores. bounded: whether every score lies in the range. source: of the range.
    note: what a person who attacks it should know.
    """

    score_range: Range
    lower_better: bool
    min_size: int
    bounded: bool
    source: str
    note: str = ""


# Listed as no-reference by pyiqa, but not functions of one image.
NOT_OF_ONE_IMAGE = {
    "FID": "it compares two sets of images",
    "InceptionScore": "it scores a set of images",
    "CLIPScore": "it needs a caption",
}
# Classes that take no batch, or mix its images.
ONE_BY_ONE = frozenset({"AFINE", "Compare2Score", "MACLIP", "QAlign"})

LISTED = "as pyiqa lists it"
LINEAR = f"a linear last layer; {LISTED}"
SOFTMAX = "mean of softmax probabilities of prompt pairs"
CLASSES = "expectation over the classes 1 to 10 of a softmax"
MIDDLE = "sees only the central square of a picture with its short side resized to"
CROPS = "averages crops of 224 pixels"
SMALL = "resizes every picture to"


def _bounded(
    score_range: Range, min_size: int, source: str, note: str = "", *, lower_better: bool = False
) -> Metric:
    return Metric(score_range, lower_better, min_size, True, source, note)


def _convention(
    score_range: Range, min_size: int, source: str, note: str = "", *, lower_better: bool = False
) -> Metric:
    return Metric(score_range, lower_better, min_size, False, source, note)


def _niqe(min_size: int) -> Metric:
    return _convention(
        (0, 100),
        min_size,
        f"a distance from 0 to infinity (Mittal et al., SPL 2013); {LISTED}",
        lower_better=True,
    )


_NIMA_AVA = f"{CLASSES} (NIMA.forward, dist_to_mos); pyiqa lists 0 to 10"
_KONIQ = f"{LINEAR}: KonIQ-10k's MOS over 100"
_TOPIQ = f"a linear last layer (CFANet.score_linear); {LISTED}"
_FACES = "is meant for faces"

METRICS: dict[str, Metric] = {
    "piqe": _convention(
        (0, 100),
        8,
        "100 (sum over distorted blocks + 1) / (active blocks + 1) (Venkatanath et al., NCC 2015), "
        "where a block adds about 1 at most",
        lower_better=True,
    ),
    "niqe": _niqe(96),
    "niqe_matlab": _niqe(96),
    "ilniqe": _convention(
        (0, 100),
        84,
        f"a distance from 0 to infinity (Zhang et al., TIP 2015); {LISTED}",
        lower_better=True,
    ),
    "brisque": _convention(
        (0, 150), 9, f"a support vector regression on LIVE's DMOS; {LISTED}", lower_better=True
    ),
    "brisque_matlab": _convention(
        (0, 100), 9, f"a support vector regression on LIVE's DMOS; {LISTED}", lower_better=True
    ),
    "nrqm": _convention(
        (0, 10),
        84,
        f"regression forests on opinions of 0 to 10 (Ma et al., CVIU 2017); {LISTED}",
    ),
    "pi": _convention(
        (0, 10),
        104,
        "((10 - nrqm) + niqe) / 2 (Blau et al., ECCVW 2018), without an upper bound; pyiqa lists "
        "none, 10 is where niqe = 10 and nrqm = 0",
        lower_better=True,
    ),
    "cnniqa": _convention((0, 1), 7, _KONIQ),
    "musiq": _convention((0, 100), 1, f"{LINEAR}: KonIQ-10k's MOS"),
    "musiq-ava": _bounded((1, 10), 1, f"{CLASSES} (MUSIQ.head)"),
    "musiq-paq2piq": _convention((0, 100), 1, f"{LINEAR}: PaQ-2-PiQ's MOS"),
    "musiq-spaq": _convention((0, 100), 1, f"{LINEAR}: SPAQ's MOS"),
    "nima": _bounded((1, 10), 1, _NIMA_AVA, f"{MIDDLE} 299 pixels"),
    "nima-koniq": _convention((0, 1), 1, _KONIQ, f"{MIDDLE} 299 pixels"),
    "nima-spaq": _convention((0, 1), 1, f"{LINEAR}: SPAQ's MOS over 100", f"{MIDDLE} 299 pixels"),
    "nima-vgg16-ava": _bounded((1, 10), 1, _NIMA_AVA, f"{MIDDLE} 224 pixels"),
    "paq2piq": _convention((0, 100), 1, f"{LINEAR}: PaQ-2-PiQ's MOS"),
    "dbcnn": _convention((0, 1), 16, _KONIQ),
    **dict.fromkeys(
        ("maniqa", "maniqa-pipal", "maniqa-kadid"),
        _convention(
            (0, 1),
            1,
            f"a weighted mean of ReLU outputs (MANIQA.fc_score), at least 0; {LISTED}",
            f"{CROPS}, 20 of a 5×5 grid, without the lowest row",
        ),
    ),
    **dict.fromkeys(("clipiqa", "clipiqa+", "clipiqa+_rn50_512"), _bounded((0, 1), 31, SOFTMAX)),
    "clipiqa+_vitL14_512": _bounded((0, 1), 14, SOFTMAX),
    "fgresq": _bounded(
        (0, 1), 1, "a sigmoid (FGResQ.forward_single)", f"{SMALL} 256×256, and sees 224×224 of that"
    ),
    "tres": _convention(
        (0, 100),
        1,
        f"{LINEAR}: KonIQ-10k's MOS",
        f"{CROPS}, 50 of an 8×8 grid, without the lowest row",
    ),
    "tres-flive": _convention(
        (0, 100), 1, f"{LINEAR}: FLIVE's MOS", f"{CROPS}, 50 of an 8×8 grid, without the lowest row"
    ),
    "hyperiqa": _convention(
        (0, 1),
        1,
        _KONIQ,
        f"{CROPS}, 25 of a 5×5 grid that leaves out a margin at the right and at the bottom",
    ),
    "metaiqa": _bounded((0, 1), 1, "a sigmoid (BaselineModel1.sig)", f"{SMALL} 224×224"),
    "uranker": _convention((-1, 2), 1, LINEAR, "is meant for underwater pictures"),
    "entropy": _bounded(
        (0, 8),
        1,
        "entropy in bits of a histogram of 256 bins",
        "counts grey levels, and is not a quality model",
    ),
    **dict.fromkeys(("topiq_nr", "topiq_nr-spaq"), _convention((0, 1), 1, _TOPIQ)),
    "topiq_nr-flive": _convention((0, 1), 1, _TOPIQ, "resizes the short side to 384 pixels"),
    "topiq_nr-face": _convention((0, 1), 1, _TOPIQ, _FACES),
    "topiq_nr_swin-face": _convention((0, 1), 1, _TOPIQ, f"{_FACES} and {SMALL} 384×384"),
    "topiq_nr-face-v1": _convention(
        (0, 1), 1, _TOPIQ, f"{_FACES}, crops them, and fails where it finds none"
    ),
    "topiq_iaa": _bounded((1, 10), 1, f"{CLASSES} (CFANet.score_linear)", f"{SMALL} 384×384"),
    "topiq_iaa_res50": _bounded(
        (1, 10), 1, f"{CLASSES} (CFANet.score_linear)", "resizes the short side to 384 pixels"
    ),
    "laion_aes": _convention((1, 10), 1, LINEAR, f"{MIDDLE} 224 pixels"),
    **dict.fromkeys(
        ("liqe", "liqe_mix"),
        _bounded(
            (1, 5),
            224,
            "expectation over five grades of a softmax",
            "sees 15 crops of 224 pixels at most",
        ),
    ),
    "wadiqam_nr": _convention(
        (-1, 0.1),
        33,
        LINEAR,
        "sees only blocks of 32×32 that end before the right and the lower edge",
    ),
    **dict.fromkeys(
        ("qalign", "qalign_8bit", "qalign_4bit"),
        _bounded((1, 5), 1, "expectation over five grades of a softmax"),
    ),
    **dict.fromkeys(
        ("qrealign", "qrealign-mini", "qrealign-lite", "qrealign-pro"),
        _bounded((0, 1), 1, "expectation over five grades of a softmax"),
    ),
    "compare2score": _bounded(
        (0, 100),
        1,
        "place among five anchor images, the lowest of the six at 0 and the highest at 100",
        "gives exactly 100 to whatever beats all of its anchors",
    ),
    "unique": _convention((-3, 3), 1, LINEAR),
    **dict.fromkeys(
        (
            "arniqa",
            "arniqa-live",
            "arniqa-csiq",
            "arniqa-tid",
            "arniqa-kadid",
            "arniqa-clive",
            "arniqa-flive",
            "arniqa-spaq",
        ),
        _convention(
            (0, 1), 2, "a linear regressor, scaled by the data set's range of MOS; not clipped"
        ),
    ),
    "maclip": _convention(
        (0, 1),
        224,
        f"softmax probabilities mixed with a magnitude that has no upper bound (MACLIP.fusion); "
        f"{LISTED}",
    ),
    **dict.fromkeys(
        ("qualiclip", "qualiclip+", "qualiclip+-clive", "qualiclip+-flive", "qualiclip+-spaq"),
        _bounded((0, 1), 31, SOFTMAX),
    ),
    "afine_nr": _bounded(
        (-2, 2),
        32,
        "a logistic function (AFINENLM_NR_Fit)",
        "fails unless both sides are multiples of 32",
        lower_better=True,
    ),
}


def as_markdown() -> str:
    """The table as it stands in docs/pyiqa.md."""
    rows = [
        "| metric | range | better | smallest side | range is | source of the range | note |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in METRICS.items():
        low, high = one.score_range
        better = "lower" if one.lower_better else "higher"
        kind = "bounded" if one.bounded else "convention"
        rows.append(
            f"| {name} | {low:g} to {high:g} | {better} | {one.min_size} | {kind} |"
            f" {one.source} | {one.note} |"
        )
    return "\n".join(rows)
