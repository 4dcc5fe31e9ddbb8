"""Code shared by the benchmarks: models, images, measuring one attack, tables."""

from __future__ import annotations

import csv
import io
import lzma
import os
import platform
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from iqattack.attacks import Attack
from iqattack.constraints import Constraint, parse_constraint
from iqattack.engine import Engine, Failure, Outcome, QueryLog
from iqattack.evaluation import bootstrap_interval, srocc
from iqattack.images import ImageSet, read_image
from iqattack.models import Scorer, load_model, score_checked
from iqattack.objectives import Direction, Objective, parse_objective
from iqattack.perception import JND_MODELS, ColorVideoVdp, jnd_violation, rms, ssim
from scnn import scnn as load_scnn

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
Floats = NDArray[np.float64]
R = TypeVar("R")  # a dataclass whose fields are the columns of a CSV file


def shared_data() -> Path:
    """The folder of development data; exits with a message if it is absent."""
    if not SHARED.is_dir():
        print("skipped: shared/data is not beside the repository, and this benchmark needs it")
        sys.exit(0)
    return SHARED


def dev_images() -> ImageSet:
    """The 24 development images."""
    return ImageSet.from_folder(shared_data() / "dev")


def cnniqa() -> Scorer:
    """CNNIQA trained on LIVE."""
    return load_model(f"cnniqa:{shared_data() / 'models' / 'cnniqa_live.pth'}")


def scnn() -> Scorer:
    """S-CNN, the synthetic half of DBCNN."""
    return load_scnn(str(shared_data() / "models" / "scnn_waterloo.pth"))


def brisque() -> Scorer:
    """BRISQUE of pyiqa; exits with a message if pyiqa is not installed."""
    return _pyiqa("brisque", "brisque_svm_weights.pth")


def niqe() -> Scorer:
    """NIQE of pyiqa, likewise."""
    return _pyiqa("niqe", "niqe_modelparameters.mat")


def piqe() -> Scorer:
    """PIQE of pyiqa, likewise."""
    return _pyiqa("piqe")


def _pyiqa(name: str, weights: str | None = None) -> Scorer:
    if find_spec("pyiqa") is None:
        print(f"skipped: {name.upper()} needs pyiqa; pip install -e '.[pyiqa]'")
        sys.exit(0)
    declare_operators()
    file = shared_data() / "models" / weights if weights else None
    return load_model(f"pyiqa:{name}" + (f",pretrained_model_path={file}" if file else ""))


_keep: list[object] = []  # declarations last as long as they are held


def rank_directions(scorer: Scorer, images: ImageSet) -> list[Direction]:
    """The directions that `rank` assigns to images of one size."""
    stack = torch.stack([read_image(entry.path).pixels for entry in images])
    scores = score_checked(scorer, stack).tolist()
    targets = parse_objective("rank").targets(scores, scorer.score_range, scorer.lower_better)
    return [target.direction for target in targets]


def machine() -> str:
    """The kind of machine, without anything that identifies it."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


class AttackFailedError(RuntimeError):
    """An image that cannot be attacked, such as one without a finite score."""


@dataclass(frozen=True)
class Measured:
    """One attack on a set: an entry per image, in the order of the set.

    gain: of the score range; rms: grey levels; over: share of pixels over 0.38 of Liu et al.'s
    JND; jod: by ColorVideoVDP, NaN where it is not installed; first: queries until a tenth of the
    way to the end was crossed, NaN where it never was. pictures: as they were attacked, uint8
    (3, H, W).
    """

    label: str
    clean: Floats
    attacked: Floats
    gain: Floats
    queries: Floats
    rms: Floats
    ssim: Floats
    over: Floats
    jod: Floats
    first: Floats
    unchanged: int
    pictures: tuple[torch.Tensor, ...] = ()

    @property
    def srocc(self) -> float:
        """Between clean and attacked scores."""
        return srocc(self.clean, self.attacked)

    def row(self) -> dict[str, str]:
        """Means with 95 % bootstrap intervals over images, as text."""
        points = 100.0 * self.gain
        return {
            "": self.label,
            "gain, points of 100": with_interval(".1f", mean, points),
            "SROCC": with_interval(".2f", srocc, self.clean, self.attacked),
            "RMS": with_interval(".2f", mean, self.rms),
            "SSIM": with_interval(".3f", mean, self.ssim),
            "over JND, %": f"{100 * self.over.mean():.1f}",
            "queries": f"{self.queries.mean():.0f} (most {self.queries.max():.0f})",
            "first crossing": _first(self.first),
            "unchanged": f"{self.unchanged} of {len(self.gain)}",
        }


def mean(values: Floats) -> float:
    """The mean, as a measure for `with_interval`."""
    return float(np.mean(values))


def with_interval(form: str, measured: Callable[..., float], *columns: Floats) -> str:
    """A measure of columns with an entry per image: value [low, high], a 95 % interval."""
    low, high = bootstrap_interval(measured, *columns)
    return f"{measured(*columns):{form}} [{low:{form}}, {high:{form}}]"


def _first(first: Floats) -> str:
    crossed = first[~np.isnan(first)]
    median = f"{np.median(crossed):.0f}" if len(crossed) else "–"
    return f"{median} ({len(crossed)} of {len(first)})"


def measure(
    label: str,
    scorer: Scorer,
    images: ImageSet,
    attack: Attack,
    *,
    constraint: str | Constraint,
    queries: int,
    objective: str | Objective = "rank",
    seed: int = 0,
    boundary: float = 0.1,
    log: QueryLog | None = None,
) -> Measured:
    """Attack a set in memory; AttackFailedError if an image fails.

    log: of the same attack with a smaller budget, to continue; RunError if it does not replay.
    """
    color_video_vdp()  # loads for `jod:`, too
    box = parse_constraint(constraint) if isinstance(constraint, str) else constraint
    aim = parse_objective(objective) if isinstance(objective, str) else objective
    with QueryLog() if log is None else nullcontext(log) as queried:
        engine = Engine.in_process(
            scorer, attack, box, aim, queries=queries, seed=seed, log=queried
        )
        outcomes: dict[str, Outcome] = {}
        for item in engine.run(images):
            if isinstance(item, Failure):
                raise AttackFailedError(item.reason)
            if isinstance(item, Outcome):
                outcomes[item.entry.name] = item
        ordered = [outcomes[entry.name] for entry in images]
        first = [_crossing(item, queried, boundary) for item in ordered]
    return Measured(
        label=label,
        clean=np.array([item.score_clean for item in ordered]),
        attacked=np.array([item.score_adv for item in ordered]),
        gain=np.array([item.gain for item in ordered]),
        queries=np.array([float(item.queries) for item in ordered]),
        rms=np.array([float(rms(item.clean, item.adversarial)) for item in ordered]),
        ssim=np.array([float(ssim(item.clean, item.adversarial)) for item in ordered]),
        over=np.array([_over(item) for item in ordered]),
        jod=np.array([jod(item.clean, item.adversarial) for item in ordered]),
        first=np.array(first),
        unchanged=sum(item.gain <= 0.0 for item in ordered),
        pictures=tuple(item.adversarial for item in ordered),
    )


def joined(label: str, parts: Sequence[Measured]) -> Measured:
    """Merge attacks on parts of a set."""

    def all_of(name: str) -> Floats:
        return np.concatenate([getattr(part, name) for part in parts])

    names = ("clean", "attacked", "gain", "queries", "rms", "ssim", "over", "jod", "first")
    return Measured(
        label=label,
        unchanged=sum(part.unchanged for part in parts),
        pictures=tuple(picture for part in parts for picture in part.pictures),
        **{name: all_of(name) for name in names},
    )


def declare_operators() -> None:
    """Declare torchvision's operators, without which pyiqa and cvvdp, which import it, fail on a
    CPU-only PyTorch.
    """
    declare = runpy.run_path(str(ROOT / "tests" / "torchvision_cpu.py"))[
        "declare_missing_operators"
    ]
    if not _keep and not hasattr(torch.ops.torchvision, "nms"):
        _keep.append(declare())


@cache
def color_video_vdp(distance: float | None = None) -> ColorVideoVdp | None:
    """The measure of visibility at a distance in metres, where it is installed."""
    if find_spec("pycvvdp") is None:
        return None
    declare_operators()
    return ColorVideoVdp(distance=distance)


def jod(clean: torch.Tensor, changed: torch.Tensor, distance: float | None = None) -> float:
    """JOD of a changed picture, on `standard_fhd`; NaN without the package."""
    metric = color_video_vdp(distance)
    return float("nan") if metric is None else float(metric.jod(clean, changed))


def _over(item: Outcome) -> float:
    threshold = 0.38 * JND_MODELS["liu2010"](item.clean.float())
    return float(jnd_violation(item.clean, item.adversarial, threshold))


def _crossing(item: Outcome, log: QueryLog, boundary: float) -> float:
    gains = item.target.gain(torch.from_numpy(log.rows(item.entry.name)["score"].copy()))
    crossed = torch.nonzero(gains >= boundary * item.target.reach)
    return float(crossed[0]) + 1.0 if len(crossed) else float("nan")


def rows_file(name: str) -> Path:
    """The file of a benchmark's rows: compressed, because a page has thousands of them."""
    return ROOT / "benchmarks" / "rows" / f"{name}.csv.xz"


def read_csv(path: Path, kind: type[R]) -> list[R]:
    """The rows of a compressed CSV file; none if it does not exist."""
    if not path.exists():
        return []
    with lzma.open(path, "rt", newline="", encoding="utf-8") as file:
        return TypeAdapter(list[kind]).validate_python(list(csv.DictReader(file)))  # type: ignore[valid-type]


def write_csv(path: Path, kind: type[Any], rows: Iterable[Any], *, anew: bool = False) -> None:
    """Append rows, each as soon as it is available; anew: replace the file.

    Rows are compressed streams of their own until all are written; readers concatenate streams.
    """
    header = _line(field.name for field in fields(kind))
    lines = (
        _line(f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values())
        for row in rows
    )
    if anew or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _pack(path, header + b"".join(lines if anew else ()))
    for line in lines:
        with path.open("ab") as file:
            file.write(lzma.compress(line, preset=0))
    _pack(path, lzma.decompress(path.read_bytes()))


def _line(values: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _pack(path: Path, text: bytes) -> None:
    """Write one stream, replacing the file atomically."""
    part = path.with_suffix(".part")
    part.write_bytes(lzma.compress(text))
    part.replace(path)


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same keys as a Markdown table; a remark if there are none."""
    if not rows:
        return "Not measured yet."
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def coverage(done: Mapping[str, Mapping[str, int]], most: int, what: str) -> str:
    """A table of how much has been measured; nothing if everything has.

    done: by row and column, the number of `what` that were measured, of `most`.
    """
    if all(number >= most for columns in done.values() for number in columns.values()):
        return ""
    table = [
        {"": name} | {head: f"{number}" for head, number in columns.items()}
        for name, columns in done.items()
    ]
    begun = f"Not complete yet: the table shows how many of the {most} {what} have been measured."
    return f"{begun}\n\n{markdown(table)}"


def write_doc(path: Path, title: str, command: str, body: str) -> None:
    """Write a page of docs/ that this program printed."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"# {title}\n\nPrinted by `{command}` on {machine()}.\n\n{body}\n", encoding="utf-8"
    )
    print(f"\nwritten: {path.relative_to(ROOT)}")
