"""Time and money for large runs, from measured throughput and given rates and prices.

    python benchmarks/cost.py [--gpu-rate NAME=IMAGES/S ...] [--gpu-price 2.5] [--price 0.001]

Measures, in one process at one thread: the built-in model alone and under attack, the processor
time of a query without the model, the start of a worker, and how fast the driver writes events of
64 simulated workers to a log on disk. Simulates, event by event, workers that answer at given rates
and one driver that reads their events; compares with the formula of the page.

Rates of GPUs are assumptions until benchmarks/gpu.py has printed some. Writes docs/cost.md and
docs/cost.png.
"""

from __future__ import annotations

import argparse
import heapq
import math
import pickle
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt

from common import ROOT, markdown, write_doc
from gpu import pictures
from iqattack.attacks import load_attack
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome, QueryLog
from iqattack.engine.events import Replies
from iqattack.engine.recorder import Recorder
from iqattack.engine.workers import merged
from iqattack.images import ImageSet, write_png
from iqattack.models import Scorer, load_model, wrap
from iqattack.objectives import parse_objective
from iqattack.scoring import Processes, Request

KONIQ, QUERIES, MODELS = 10_073, 2_000, 4  # images (Hosu et al., TIP 2020), of each, models
PAID = 10**8  # queries to a service
ATTACKS = ("square", "filter-search", "score-boundary")
BOX = "linf:3"
KONIQ_SIZE = (384, 512)  # height, width of the smaller of its two published sizes
PER_GPU = 8  # workers
BATCH = 64  # images of a call on a GPU
FIXED_S = 0.006  # of a call on a GPU, independent of its batch
MADE_UP = 64  # workers whose events the driver is timed with
TOGETHER = 16  # events of theirs in one write, at most
GPUS = (1, 8, 64)
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Images per second of one GPU at 512×384, float32. Assumed.
GPU_RATES = {
    "small CNN": 4000.0,
    "ResNet-50": 1000.0,
    "CLIP ViT-B/32": 1500.0,
    "transformer on several crops": 200.0,
}
SERVICES = ((10.0, "10 a second"), (100.0, "100 a second"), (1000.0, "1,000 a second"))
DOC, FIGURE = ROOT / "docs" / "cost.md", ROOT / "docs" / "cost.png"


# -- measured -------------------------------------------------------------------------------------


def image_set(folder: Path, n: int, height: int, width: int) -> ImageSet:
    """n pictures."""
    folder.mkdir()
    for k, picture in enumerate(pictures(n, max(height, width))):
        write_png(folder / f"{k}.png", picture[:, :height, :width].contiguous())
    return ImageSet.from_folder(folder)


def engine_of(scorer: Scorer, attack: str, queries: int) -> Engine:
    """As a run makes it, with its log in memory."""
    return Engine.in_process(
        scorer,
        load_attack(attack),
        parse_constraint(BOX),
        parse_objective("rank"),
        queries=queries,
    )


def played(scorer: Scorer, attack: str, images: ImageSet, queries: int) -> tuple[int, float]:
    """Queries of an attack, and its seconds of processor time."""
    began = time.process_time()
    items = engine_of(scorer, attack, queries).run(images)
    done = sum(item.queries for item in items if isinstance(item, Outcome))
    return done, time.process_time() - began


@dataclass(frozen=True)
class Call:
    """Seconds of a call: fixed, and for each image. batch: images of a full one."""

    fixed: float
    each: float
    batch: int

    def seconds(self, images: int) -> float:
        """Seconds of a call with a number of images."""
        return self.fixed + self.each * images

    @property
    def rate(self) -> float:
        """Images per second in full calls."""
        return self.batch / self.seconds(self.batch)


def cpu_model(folder: Path) -> tuple[Call, float]:
    """A call of the built-in model at 224×224, and queries per second over images per second, both
    by processor time, as the machine is shared.
    """
    scorer, stack = load_model("builtin"), pictures(4, 224)
    images = image_set(folder / "cpu", 4, 224, 224)
    took: dict[int, list[float]] = {1: [], 4: []}
    ratios = []
    for _ in range(4):  # they take turns: the speed of a shared machine drifts
        for batch, seconds in took.items():
            for _ in range(12 // batch):
                began = time.process_time()
                scorer(stack[:batch])
                seconds.append(time.process_time() - began)
        done, processor = played(scorer, ATTACKS[1], images, 25)
        ratios.append(done / processor * float(np.median(took[4][-3:])) / 4)
    one, four = (float(np.median(seconds)) for seconds in took.values())
    each = (four - one) / 3
    return Call(max(one - each, 0.0), each, 4), float(np.median(ratios))


def candidate_seconds(folder: Path) -> dict[str, float]:
    """Processor time of a query beside the model, by attack: with one that costs nothing."""
    free = wrap(
        lambda images: images[:, :, ::16, ::16].double().mean((1, 2, 3)),
        name="free",
        score_range=(0.0, 255.0),
        lower_better=False,
    )
    images = image_set(folder / "free", 4, *KONIQ_SIZE)
    found = {}
    for attack in ATTACKS:
        done, processor = played(free, attack, images, 250)
        found[attack] = processor / done
    return found


def start_seconds() -> float:
    """From the start of a worker to its first score."""
    began = time.perf_counter()
    pool = Processes("builtin", 1)
    pool.submit([Request("first", 1, pictures(1, 224)[0])])
    while not pool.wait():
        pass
    took = time.perf_counter() - began
    pool.close()
    return took


@dataclass(frozen=True)
class Driver:
    """Seconds that the driver takes: for a write, and for each query in it."""

    write: float
    query: float

    def seconds(self, queries: int) -> float:
        """Seconds to write events together."""
        return self.write + self.query * queries

    def rate(self, queries: int) -> float:
        """Queries per second, given the number of queries per write."""
        return queries / self.seconds(queries)


def driver(folder: Path, seconds: float = 0.5) -> Driver:
    """Simulated workers' events, as they come over a connection, through the recorder to a log: one
    event a write, and as many as one look at all connections may find.
    """
    names = [f"{k:05d}.png" for k in range(MADE_UP * BATCH)]
    took: dict[int, list[float]] = {1: [], TOGETHER: []}
    for k, together in enumerate((1, TOGETHER) * 3):  # they take turns, as above
        with QueryLog(folder / f"driver-{k}.sqlite") as log:
            log.open_tasks(names)
            recorder = Recorder(
                log,
                images=len(names),
                queries=QUERIES,
                note=lambda *_: None,
                progress=lambda _: None,
            )
            spent, writes, number, draw = 0.0, 0, 0, np.random.default_rng(0)
            while spent < seconds:
                number += 1
                hashes = draw.integers(0, 2**63, len(names)).tolist()
                sent = []
                for first in range(0, len(names), BATCH):
                    rows = {
                        names[k]: (number, [(hashes[k], float(k))])
                        for k in range(first, first + BATCH)
                    }
                    event = Replies(rows, scored=BATCH, gains=dict.fromkeys(rows, 0.1))
                    sent.append(pickle.dumps(event))
                for first in range(0, MADE_UP, together):
                    began = time.perf_counter()
                    read = [pickle.loads(one) for one in sent[first : first + together]]
                    recorder.record(merged(read))
                    spent += time.perf_counter() - began
                    writes += 1
        took[together].append(spent / writes)
    few, many = (float(np.median(seconds)) for seconds in took.values())
    query = (many - few) / (BATCH * (TOGETHER - 1))
    return Driver(max(few - BATCH * query, 0.0), query)


# -- simulated ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A run. call: of one worker. candidate: seconds that a worker takes to make one. start: of a
    worker.
    """

    images: int
    queries: int
    workers: int
    call: Call
    driver: Driver
    candidate: float
    start: float

    @property
    def together(self) -> int:
        """Images of a call: each worker has two calls' worth of images, and no more than there are.

        An image is asked about once at a time: what comes next depends on the answer.
        """
        return max(1, min(self.call.batch, math.ceil(self.images / (2 * self.workers))))

    @property
    def expected(self) -> float:
        """Seconds, by the formula: start, and the waves of images at the slowest of four rates."""
        workers = min(self.workers, self.images)
        n = self.together
        lanes = min(2 * workers, math.ceil(self.images / n))  # calls' worth of images at once
        full, rest = divmod(self.images, lanes * n)
        last = math.ceil(rest / lanes)
        rounds = full * self._round(n, lanes) + (self._round(last, lanes) if rest else 0.0)
        return self.start + self.queries * rounds

    def _round(self, n: int, lanes: int) -> float:
        """Seconds in which each of the open images is asked about once, n in a call."""
        call, made = self.call.seconds(n), n * self.candidate
        own = 2 * max(call, made) if lanes > min(self.workers, self.images) else call + made
        return max(own, call + made, lanes * n * self.driver.query)


@dataclass
class Lane:
    """Images of a worker that are asked about in one call; left: queries of each."""

    worker: int
    images: int
    left: int
    ready: float = 0.0


class Handing:
    """Hands out images: at first all lanes are filled, then evenly."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._left = plan, plan.images
        self._lanes = min(2 * plan.workers, math.ceil(plan.images / plan.together))
        self._handed = self._share = 0

    def lane(self, worker: int, now: float) -> Lane | None:
        """Images for a worker; None where there are none left."""
        if self._handed % self._lanes == 0:
            self._share = min(self._plan.together, math.ceil(self._left / self._lanes))
        self._handed += 1
        images = min(self._share, self._left)
        self._left -= images
        return Lane(worker, images, self._plan.queries, now) if images else None


def simulated(plan: Plan) -> float:
    """Seconds of a run, simulated event by event.

    A worker has two lanes: one is scored while the candidates of the other are made. The scores of
    a call are sent to the driver, and the worker continues once the driver has read them. The
    driver reads whenever it is not writing, and writes everything that it has read at once.
    """
    handing = Handing(plan)
    device = [plan.start] * plan.workers  # free from then on
    maker = [plan.start] * plan.workers
    waiting: list[list[Lane]] = [[] for _ in range(plan.workers)]  # with candidates, or soon
    heap: list[tuple[float, int, Lane | None]] = []  # a call comes back; None: the driver is free
    number = 0
    inbox: list[Lane] = []
    driver_free = end = plan.start
    writing = False

    def begin(worker: int, now: float) -> None:
        nonlocal number
        if not waiting[worker]:
            return
        lane = waiting[worker].pop(0)
        done = max(now, device[worker], lane.ready) + plan.call.seconds(lane.images)
        device[worker] = done
        number += 1
        heapq.heappush(heap, (done, number, lane))

    for _ in range(2):
        for worker in range(plan.workers):
            lane = handing.lane(worker, plan.start)
            if lane is not None:
                waiting[worker].append(lane)
    for worker in range(plan.workers):
        begin(worker, plan.start)
    while heap:
        now, _, lane = heapq.heappop(heap)
        if lane is not None:
            inbox.append(lane)
        else:
            writing = False
        if writing or not inbox:
            continue
        read, inbox = inbox, []
        driver_free = now + plan.driver.seconds(sum(lane.images for lane in read))
        writing, end = True, driver_free
        number += 1
        heapq.heappush(heap, (driver_free, number, None))
        for lane in read:
            worker = lane.worker
            lane.left -= 1
            following = lane if lane.left else handing.lane(worker, now)
            if following is not None:
                made = max(now, maker[worker]) + plan.candidate * following.images
                maker[worker] = following.ready = made
                waiting[worker].append(following)
            begin(worker, now)
    return end


# -- the page -------------------------------------------------------------------------------------


def gpu_call(rate: float, workers: int = PER_GPU) -> Call:
    """A call of one of the workers that share a GPU of that rate, each with its fair share."""
    each = max(1.0 / rate - FIXED_S / BATCH, 0.0)
    return Call(workers * FIXED_S, workers * each, BATCH)


def koniq_rows(base: Plan, rates: dict[str, float], price: float) -> list[dict[str, str]]:
    """Hours and money of each model and of all, by GPUs."""
    rows = []
    for gpus in GPUS:
        total = ideal = 0.0
        for name, rate in rates.items():
            plan = replace(base, workers=PER_GPU * gpus, call=gpu_call(rate))
            seconds = simulated(plan)
            total += seconds
            ideal += plan.images * plan.queries / (rate * gpus)
            rows.append(_koniq_row(gpus, name, seconds, plan.expected, seconds / 3600 * price))
            rows[-1]["used"] = f"{plan.images * plan.queries / seconds / (rate * gpus):.2f}"
        rows.append(_koniq_row(gpus, f"**all {len(rates)}**", total, None, total / 3600 * price))
        rows[-1]["used"] = f"{ideal / total:.2f}"
    return rows


def _koniq_row(
    gpus: int, name: str, seconds: float, formula: float | None, price: float
) -> dict[str, str]:
    return {
        "GPUs": str(gpus),
        "model": name,
        "hours": f"{seconds / 3600:.2f}",
        "by the formula": "–" if formula is None else f"{formula / 3600:.2f}",
        "money": f"{gpus * price:,.0f}",
    }


def service_rows(price: float, limit: float) -> list[dict[str, str]]:
    """Days and money of 10⁸ requests, by the rate that a service allows. limit: the driver's."""
    return [
        {
            "rate": name,
            "requests at once, of 1 s each": f"{rate:,.0f}",
            "days": f"{PAID / min(rate, limit) / 86400:,.1f}",
            "money": f"{PAID * price:,.0f}",
        }
        for rate, name in SERVICES
    ]


def speed_ups(base: Plan, calls: dict[str, Call]) -> dict[str, list[tuple[int, float]]]:
    """By kind of worker: (workers, time of one over theirs), each of the same images."""
    found = {}
    for name, call in calls.items():
        took = [simulated(replace(base, workers=n, call=call)) for n in WORKERS]
        found[name] = [(n, took[0] / seconds) for n, seconds in zip(WORKERS, took, strict=True)]
    return found


def draw(curves: dict[str, list[tuple[int, float]]]) -> None:
    """docs/cost.png."""
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(6.4, 4.4), dpi=110)
    axes.plot(WORKERS, WORKERS, color="#999999", linewidth=1, label="as many times")
    for (name, points), mark in zip(curves.items(), "osD^", strict=False):
        axes.plot(*zip(*points, strict=True), marker=mark, markersize=5, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(WORKERS, [str(n) for n in WORKERS])
    axes.set_yticks(WORKERS, [str(n) for n in WORKERS])
    axes.set_xlabel("workers")
    axes.set_ylabel("times as fast as one, simulated")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(FIGURE, metadata={"Software": None})
    plt.close(figure)


def page(given: argparse.Namespace) -> str:
    """The text of docs/cost.md."""
    torch.set_num_threads(1)
    rates = {name: float(rate) for name, _, rate in (r.rpartition("=") for r in given.gpu_rate)}
    rates = rates or GPU_RATES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call, efficiency = cpu_model(folder)
        each = candidate_seconds(folder)
        start = start_seconds()
        writes = driver(folder)
    candidate = max(each.values())
    print(f"{call} {efficiency:.3f} {each} {start:.1f} {writes}", flush=True)
    base = Plan(KONIQ, QUERIES, 1, call, writes, candidate, start)
    koniq = koniq_rows(base, rates, given.gpu_price)
    kinds = {
        f"CPU core, {call.rate:.0f} images/s": call,
        "GPU shared by 8, 125 images/s": gpu_call(1000.0),
        "GPU of its own, 1,000 images/s": gpu_call(1000.0, 1),
    }
    curves = speed_ups(base, kinds)
    draw(curves)
    speed = [
        {"workers": str(n)} | {kind: f"{points[k][1]:.1f}" for kind, points in curves.items()}
        for k, n in enumerate(WORKERS)
    ]
    at_64 = replace(base, workers=MADE_UP, call=gpu_call(1000.0))
    took, formula = simulated(at_64), at_64.expected
    cpu_hours = KONIQ * QUERIES / (call.rate * efficiency) / 3600
    limit = writes.rate(TOGETHER * BATCH)
    assumed = "given by --gpu-rate" if given.gpu_rate else "assumed, not measured"
    listed = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    measured = [
        {"what": what, "figure": figure}
        for what, figure in (
            (
                "built-in model, 224×224, one core, processor time of a call",
                f"{1e3 * call.fixed:.1f} ms + {1e3 * call.each:.1f} ms an image",
            ),
            ("attacked on the same core, queries/s over images/s", f"{efficiency:.2f}"),
            ("processor time of a query beside the model, 512×384", _listed(each)),
            ("so a worker makes at most", f"{1 / candidate:,.0f} candidates/s"),
            ("start of a worker until its first score", f"{start:.1f} s"),
            (
                f"driver, events of {MADE_UP} simulated workers to a log on disk",
                f"{1e6 * writes.write:.0f} µs a write + {1e6 * writes.query:.0f} µs a query",
            ),
            (
                f"so it writes, {TOGETHER} events of {BATCH} queries together",
                f"{limit:,.0f} queries/s",
            ),
        )
    ]
    return f"""This page estimates time and money for large runs. Figures are **measured** by this
program on this machine, **simulated** from the measurements, or **assumed**: rates of GPUs, and
prices, which are examples without a currency. `--gpu-rate NAME=IMAGES/S`, `--gpu-price` and
`--price` replace them.
`benchmarks/gpu.py` measures rates on a machine with a GPU; it has not run on one yet.

## Measured here

{markdown(measured)}

## KonIQ-10k: {KONIQ:,} images × {QUERIES:,} queries × {len(rates)} models

In the simulation, {PER_GPU} workers share a GPU, with {BATCH} images a call, and
{1e3 * FIXED_S:.0f} ms of a call do not depend on the batch (assumed). Images per second of one GPU,
{assumed}: {listed}.
An hour of one GPU costs {given.gpu_price:g} (an example). All GPUs are held until the last image
is done. *Used* is the share of the GPUs' rate that the run reaches.

{markdown(koniq)}

One core and the built-in model at 224×224, for comparison: {cpu_hours:,.0f} hours for one model,
from the measured rate and efficiency.

## 10⁸ queries to a paid service

A request costs {given.price:g} (an example). Only the service's rate matters: the driver
writes {limit / SERVICES[-1][0]:.0f} times as fast as the fastest of these answers. `--max-cost`
stops before a given sum; retries that the service charges come on top.

{markdown(service_rows(given.price, limit))}

## Where more workers stop helping

![Speed-up by workers]({FIGURE.name})

Simulated speed-up over one worker, KonIQ-10k × {QUERIES:,} queries:

{markdown(speed)}

- **Images.** A search makes one query at a time, because the next one depends on the answer. A
  worker keeps two calls' worth of images open; each of W workers has at most {KONIQ:,} / W images,
  and a GPU is slower with small calls. Workers in excess of the images are idle.
- **Waves.** All images have the same budget, so those that start together end together. A worker
  opens {2 * BATCH} images at once; the images left after the full waves form another wave,
  in smaller calls.
- **Candidates.** Each worker generates them on a CPU, one after the other. A GPU of rate R needs
  at least R / {1 / candidate:,.0f} workers, and as many cores.
- **The driver.** One process writes. It becomes the limit at about {limit:,.0f} queries/s over all
  workers. With shards (`--shard`), each shard has its own driver.
- **The start.** {start:.0f} s, once; it matters only in short runs.

{MADE_UP} workers that share 8 GPUs of 1,000 images/s take {took / 3600:.2f} hours in the
simulation, {formula / 3600:.2f} by the formula: start + the time of a round × queries, for each
wave. In a round every open image gets one query; it takes as long as the slowest of the
device, the candidates and the driver. Both leave out failures, retries, images of several sizes,
and searches that end before their budget."""


def _listed(each: dict[str, float]) -> str:
    return ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in each.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and its figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--gpu-rate", nargs="+", default=[], metavar="NAME=IMAGES/S", help="of one GPU"
    )
    parser.add_argument("--gpu-price", type=float, default=2.5, help="of a GPU for an hour")
    parser.add_argument("--price", type=float, default=0.001, help="of a request")
    given = parser.parse_args(arguments)
    write_doc(DOC, "What large runs cost", "python benchmarks/cost.py", page(given))


if __name__ == "__main__":
    main()
