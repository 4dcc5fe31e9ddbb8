"""GPU utilisation: queries per second of runs, relative to those of the bare network.

    python benchmarks/gpu.py [--workers 1 4 8] [--attacks ...] [--minutes 9] [--out gpu.md]
    python benchmarks/gpu.py --cpu --quick     # the same code with a tiny network, in a minute

--workers 0 runs the model in the program's own process, where the parts of a query are not timed.

A ResNet-50 with random weights and one output, at 224×224 in float32, is attacked by worker
processes that share one GPU. The bare model is the same network at its fastest batch size, on
images that are already on the GPU; runs read images, make candidates, send them as bytes and log
every score. A run is timed once its rate is steady. Needs iqattack without extras; uses
torchvision's ResNet-50 if installed, else the same layers below.

Prints a page (`--out` saves it), and exits with status 1 if 8 workers miss the target, or if scores
with one image per call depend on the number of workers. Without a GPU, it prints a message and
exits with status 0.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

NEEDED = (
    *("torch", "numpy", "scipy", "PIL", "cv2", "skimage", "pydantic", "typer", "rich", "tomli_w"),
    *("xxhash", "cmaes", "safetensors", "jinja2", "threadpoolctl", "filelock"),
)
LACKING = [name for name in NEEDED if find_spec(name) is None]
if LACKING:
    print(f"cannot run: needs {', '.join(LACKING)}, not installed; pip install iqattack has all")
    sys.exit(2)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import iqattack  # noqa: E402
from iqattack.engine import Interrupted, Progress  # noqa: E402
from iqattack.engine.drivers import ImageDriver  # noqa: E402
from iqattack.models import callable as models  # noqa: E402
from iqattack.scoring import inline  # noqa: E402

ATTACKS = ("square", "filter-search", "score-boundary")
BOX = "linf:3"
AIM = 0.80  # of the bare model, with the most workers
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PARTS = "IQATTACK_GPU_PARTS"  # the folder in which workers say where their time went


@dataclass(frozen=True)
class Size:
    """The extent of a benchmark. side: of images; images: number attacked; window_s: timed window;
    steady_s: spans of which two must agree before it; patience_s: limit for that; bare_s: time for
    each batch size of the bare model.
    """

    network: str
    side: int
    images: int
    window_s: float
    steady_s: float
    patience_s: float
    bare_s: float
    batches: tuple[int, ...] = BATCHES
    same_images: int = 16
    same_queries: int = 24


FULL = Size("resnet50", 224, 4096, 8.0, 3.0, 30.0, 1.0)
QUICK = Size("tiny", 64, 12, 0.3, 0.1, 0.5, 0.05, (1, 2, 4), same_images=3, same_queries=8)


# -- the network ----------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions beside a shortcut (He et al., CVPR 2016, fig. 5)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        made = 4 * width
        self.body = nn.Sequential(
            *_normalised(channels, width, 1),
            nn.ReLU(inplace=True),
            *_normalised(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_normalised(width, made, 1),
        )
        same = channels == made and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_normalised(channels, made, 1, stride))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, 4·width, H/stride, W/stride)."""
        return F.relu(self.body(maps) + self.shortcut(maps))


def _normalised(channels: int, made: int, side: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, made, side, stride, side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(made)]


def residual_50() -> nn.Module:
    """ResNet-50 with one output: 3, 4, 6 and 3 blocks (He et al., table 1)."""
    layers: list[nn.Module] = [
        *_normalised(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, 2 if stage and not block else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1))


def tiny_network() -> nn.Module:
    """Two convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1),
    )  # fmt: skip


class Quality(nn.Module):
    """A network with one output as a model of quality, 0 to 100."""

    score_range = (0.0, 100.0)
    lower_better = False

    def __init__(self, network: nn.Module, side: int) -> None:
        """Estimate the statistics of batch normalisation on some images; with random weights,
        activations would otherwise grow from block to block, and all scores be 0 or 100.
        """
        super().__init__()
        self.network = network
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
        with torch.no_grad():
            found = network.train()(_normal(pictures(8, side)))
        self.register_buffer("mean", found.mean())
        self.register_buffer("width", found.std() + 1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W)."""
        found = (self.network(images).flatten() - self.mean) / self.width
        return 100.0 * torch.sigmoid(found)


def _model(make: Callable[[], nn.Module], side: int, device: str) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Quality(make(), side)
    if PARTS in os.environ:
        _watch(Path(os.environ[PARTS]))
    return model.to(device).eval().requires_grad_(False)


def resnet50(device: str = "cpu") -> nn.Module:
    """What workers load: torchvision's where it is installed."""
    make: Callable[[], nn.Module] = residual_50
    if find_spec("torchvision") is not None:
        theirs = importlib.import_module("torchvision.models")
        make = partial(theirs.resnet50, weights=None, num_classes=1)
    return _model(make, FULL.side, device)


def tiny(device: str = "cpu") -> nn.Module:
    """The same for a trial on a CPU."""
    return _model(tiny_network, QUICK.side, device)


NETWORKS = {"resnet50": resnet50, "tiny": tiny}


def pictures(n: int, side: int) -> Tensor:
    """Pictures (n, 3, side, side) uint8: noise at several scales, other pictures each time."""
    draw = torch.Generator().manual_seed(n)
    sums = torch.zeros(n, 3, side, side)
    for cells in (4, 16, side):
        noise = torch.randn(n, 3, cells, cells, generator=draw)
        sums += F.interpolate(noise, (side, side), mode="bilinear") * (
            24.0 if cells < side else 4.0
        )
    return (128.0 + sums).clamp(0, 255).round().to(torch.uint8)


def _normal(images: Tensor) -> Tensor:
    """As `--input imagenet` has them."""
    mean = images.new_tensor((0.485, 0.456, 0.406), dtype=torch.float32)[:, None, None]
    deviation = images.new_tensor((0.229, 0.224, 0.225), dtype=torch.float32)[:, None, None]
    return (images.float() / 255.0 - mean) / deviation


# -- where the time of a worker goes --------------------------------------------------------------


def _watch(folder: Path) -> None:
    """In a worker: time the parts of a query from now on, and write what they took each second."""
    spent: defaultdict[str, float] = defaultdict(float)

    def around(owner: Any, name: str, label: str, wait: bool) -> None:
        function = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                found = function(*arguments, **named)
                if wait and torch.cuda.is_available():
                    torch.cuda.synchronize()
                return found
            finally:
                spent[label] += time.perf_counter() - began

        setattr(owner, name, timed)

    around(inline, "ask", "asking", True)
    around(models, "sent", "transfer", True)
    around(Quality, "forward", "network", True)
    around(ImageDriver, "advance", "candidates", False)

    def write() -> None:
        while not spent["network"]:  # until the first call, which warms up
            time.sleep(0.1)
        spent.clear()
        started = time.perf_counter()
        while True:
            time.sleep(0.25)
            now = dict(spent) | {"wall": time.perf_counter() - started}
            made = folder / f"{os.getpid()}.part"
            made.write_text(json.dumps(now), encoding="utf-8")
            made.replace(folder / f"{os.getpid()}.json")

    threading.Thread(target=write, daemon=True).start()


def shares(folder: Path) -> dict[str, float]:
    """Shares of the workers' time: network, transfer, the rest of a call, no call in flight, and,
    in a parallel thread, candidates.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for file in folder.glob("*.json"):
        for name, seconds in json.loads(file.read_text(encoding="utf-8")).items():
            total[name] += seconds
    wall = max(total["wall"], 1e-9)
    inside = total["network"] + total["transfer"]
    return {
        "network": total["network"] / wall,
        "transfer to the device": total["transfer"] / wall,
        "conversion, checks, scores back": (total["asking"] - inside) / wall,
        "no call: scheduling, sending, waiting for candidates": 1.0 - total["asking"] / wall,
        "candidates (a thread beside)": total["candidates"] / wall,
    }


# -- measuring ------------------------------------------------------------------------------------


class TooLateError(RuntimeError):
    """The time limit is reached."""


@dataclass
class Bench:
    """One device, one network, some images, and a deadline."""

    size: Size
    device: str
    folder: Path
    until: float

    @property
    def spec(self) -> str:
        """Of the model, for workers."""
        return f"{Path(__file__).resolve()}:{self.size.network}"

    def images(self, n: int) -> Path:
        """A folder of n pictures, of which at most 64 differ: each is attacked by itself."""
        folder = self.folder / f"images-{n}"
        if folder.is_dir():
            return folder
        folder.mkdir()
        different = min(n, 64)
        for k, picture in enumerate(pictures(different, self.size.side)):
            pixels = picture.permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / f"{k:05d}.png", compress_level=1)
        for k in range(different, n):
            os.link(folder / f"{k % different:05d}.png", folder / f"{k:05d}.png")
        return folder

    def _attack(self, n: int, attack: str, workers: int, out: Path, **options: Any) -> None:
        iqattack.attack(
            self.images(n),
            self.spec,
            out=out,
            attack=attack,
            constraint=BOX,
            input="imagenet",
            workers=workers or None,
            device=self.device,
            check=False,
            **options,
        )

    def bare(self) -> tuple[float, int]:
        """Images per second of the network at its fastest batch, and that batch."""
        model = NETWORKS[self.size.network](self.device)
        rates: dict[int, float] = {}
        for batch in self.size.batches:
            try:
                images = _normal(pictures(batch, self.size.side).to(self.device))
                rates[batch] = self._rate(model, images)
            except torch.OutOfMemoryError:
                break
            print(f"  bare, batch {batch}: {rates[batch]:.0f} images/s", flush=True)
        del model
        if self.device != "cpu":  # workers have the memory from here on
            torch.cuda.empty_cache()
        best = max(rates, key=rates.__getitem__)
        return rates[best], best

    @torch.inference_mode()
    def _rate(self, model: nn.Module, images: Tensor) -> float:
        for _ in range(3):  # the first call chooses algorithms and takes memory
            model(images)
        self._wait()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < self.size.bare_s:
            for _ in range(4):
                model(images)
            self._wait()
            done += 4 * len(images)
        return done / (time.perf_counter() - started)

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def run(self, attack: str, workers: int) -> Steady:
        """Attack with some workers until the rate is known, then stop."""
        if time.monotonic() > self.until:
            raise TooLateError
        watch = Steady(self.size, self.until)
        with tempfile.TemporaryDirectory(dir=self.folder) as out, contextlib.suppress(Interrupted):
            callbacks = iqattack.Callbacks(progress=watch.progress, stop=watch.stop)
            self._attack(
                self.size.images, attack, workers, Path(out) / "run",
                queries=2000, callbacks=callbacks,
            )  # fmt: skip
        return watch

    def profile(self, attack: str, workers: int) -> dict[str, float]:
        """Where the time of workers goes; each part waits for the device, which costs some rate."""
        with tempfile.TemporaryDirectory(dir=self.folder) as parts:
            os.environ[PARTS] = parts
            try:
                self.run(attack, workers)
            finally:
                del os.environ[PARTS]
            return shares(Path(parts))

    def logged(self, attack: str, workers: int, batch: int | None) -> dict[str, np.ndarray]:
        """All rows of the log of a small run, by image."""
        if time.monotonic() > self.until:
            raise TooLateError
        n = self.size.same_images
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            run = Path(out) / "run"
            self._attack(n, attack, workers, run, queries=self.size.same_queries, batch=batch)
            with iqattack.open_run(run).open_log() as log:
                return {name: log.rows(name) for name in log.images()}


class Steady:
    """Watches a run: waits until two spans in a row are equally fast, then times a window."""

    def __init__(self, size: Size, until: float) -> None:
        self._size, self._until = size, until
        self._marks: list[tuple[float, int]] = []  # time and queries, once a span
        self._window: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._asked = 0.0  # when the search began
        self.batch = 0
        self.done = False

    def progress(self, state: Progress) -> None:
        """Called by the run after every reply."""
        now = time.perf_counter()
        if state.stage != "attack" or self.done:
            return
        self._asked = self._asked or now
        self._last, self.batch = (now, state.queries), state.batch
        if self._window is not None:
            self.done = now - self._window[0] >= self._size.window_s
            return
        if not self._marks or now - self._marks[-1][0] >= self._size.steady_s:
            self._marks.append((now, state.queries))
            if self._is_steady() or now - self._asked > self._size.patience_s:
                self._window = self._marks[-1]

    def _is_steady(self) -> bool:
        rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(self._marks[-4:])]
        return len(rates) == 3 and max(rates) <= 1.05 * min(rates)

    def stop(self) -> bool:
        """Whether the run is to end."""
        return self.done or time.monotonic() > self._until

    @property
    def rate(self) -> float:
        """Queries per second in the window; NaN where it never came to one."""
        if self._window is None or self._last is None or self._last[0] <= self._window[0]:
            return float("nan")
        return (self._last[1] - self._window[1]) / (self._last[0] - self._window[0])


def same_scores(logs: Sequence[dict[str, np.ndarray]]) -> tuple[bool, float]:
    """Whether logs are equal, byte for byte, and the largest difference of scores of one image.

    Once scores differ, later candidates differ, too; only those in both logs are compared.
    """
    equal = all(
        log.keys() == logs[0].keys()
        and all(log[name].tobytes() == logs[0][name].tobytes() for name in log)
        for log in logs
    )
    worst = 0.0
    first = {name: dict(rows.tolist()) for name, rows in logs[0].items()}
    for log in logs[1:]:
        for name, rows in log.items():
            known = first.get(name, {})
            gaps = [abs(score - known[key]) for key, score in rows.tolist() if key in known]
            worst = max([worst, *gaps])
    return equal, worst


def measured(bench: Bench, attacks: Sequence[str], workers: Sequence[int]) -> Iterator[str]:
    """The page, line by line; the last one is `passed` or a list of failures."""
    faults = []
    bare, batch = bench.bare()
    yield f"Bare model: {bare:.0f} images/s at its fastest batch, {batch}."
    yield ""
    yield "| attack | workers | batch | queries/s | over the bare model |"
    yield "| --- | --- | --- | --- | --- |"
    late = False
    slow: tuple[str, float] | None = None
    for attack in attacks:
        for number in workers:
            try:
                run = bench.run(attack, number)
            except TooLateError:
                late = True
                continue
            ratio = run.rate / bare
            yield f"| {attack} | {number} | {run.batch} | {run.rate:.0f} | **{ratio:.3f}** |"
            if number == max(workers) and not ratio >= AIM:
                faults.append(f"{attack}: {ratio:.3f} with {number} workers, expected {AIM:.2f}")
                if slow is None or ratio < slow[1]:
                    slow = attack, ratio
    yield ""
    for one in (1, None):
        try:
            logs = [bench.logged(attacks[0], number, one) for number in workers]
        except TooLateError:
            late = True
            continue
        equal, worst = same_scores(logs)
        how = "one image a call" if one else "batches found by timing"
        said = "equal logs" if equal else f"scores differ by up to {worst:.2g} of 100"
        yield f"{attacks[0]}, {how}, {', '.join(map(str, workers))} workers: {said}."
        if one and not equal:
            faults.append(f"one image a call: {said}")
    yield ""
    if slow is not None and max(workers) > 0:
        yield f"Where the time of {max(workers)} workers goes, {slow[0]}:"
        yield ""
        try:
            for name, share in bench.profile(slow[0], max(workers)).items():
                yield f"- {name}: {share:.0%}"
        except TooLateError:
            late = True
        yield ""
    if late:
        faults.append("not everything was measured in the time given: --minutes")
    yield "; ".join(faults) or "passed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page; 1 where something fell short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--attacks", nargs="+")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cpu", action="store_true", help="on the CPU: no figure means anything")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few images")
    given = parser.parse_args(arguments)
    if not given.cpu and not torch.cuda.is_available():
        print("skipped: no GPU")
        return 0
    size = QUICK if given.quick else FULL
    workers = given.workers or ([1, 2] if given.quick else [1, 4, 8])
    attacks = given.attacks or list(ATTACKS[:1] if given.quick else ATTACKS)
    where = "a CPU" if given.cpu else torch.cuda.get_device_name(0)
    lines = [
        f"{size.network} of random weights, {size.side}×{size.side}, {BOX}, on {where}; "
        f"torch {torch.__version__}, {os.cpu_count()} cores; convolutions in "
        f"{'TF32' if not given.cpu and torch.backends.cudnn.allow_tf32 else 'float32'}.",
        "",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            size,
            "cpu" if given.cpu else "cuda:0",
            Path(folder),
            time.monotonic() + 60.0 * given.minutes,
        )
        for line in measured(bench, attacks, workers):
            print(line, flush=True)
            lines.append(line)
    if given.out is not None:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if lines[-1] == "passed" or given.quick else 1


if __name__ == "__main__":
    sys.exit(main())
