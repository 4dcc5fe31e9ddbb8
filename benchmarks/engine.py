"""The overhead of the engine: queries per second of a whole run over those of the bare model.

    python benchmarks/engine.py [--images 24] [--queries 400] [--threads 2] [--sections ...]

Run and bare model alternate every second, because the machine is shared and its speed drifts: only
their ratio counts. The bare model scores the same images at its best batch size. Sections:

process: in one process, the attack's threads beside the model.
workers: two workers at one thread each, measures and files included, beside two bare models, which
    run side by side while the workers are halted.
free: a model without computation; slow: one that sleeps 20 ms per call; both as processor time of
    one query, over that of one pass of CNNIQA on the same image.
parts: a breakdown of the processor time of a query, in one process at one thread.
service: one that sleeps 100 ms per request and takes 32 at once, against the ideal.
http: the same behind HTTP, including PNG files, and whether memory grows with requests.
large: an image of 24 megapixels and a model without computation.
ray: two workers placed by Ray on this machine, over two that are started without it, in turns.
driver: the driver process, with 64 simulated workers (see driver.py).

Writes docs/engine.md; other sections keep their text.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image

import iqattack
from common import ROOT, cnniqa, dev_images, machine, markdown, shared_data, write_doc
from iqattack.attacks import load_attack
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome, Progress, QueryLog
from iqattack.engine.account import Account
from iqattack.engine.cluster import connected
from iqattack.engine.drivers import ImageDriver
from iqattack.images import ImageSet, read_image
from iqattack.memory import keep_freed_memory
from iqattack.models import Scorer, load_model, wrap
from iqattack.objectives import parse_objective
from iqattack.runs import How
from iqattack.scoring import ScorePool, Threads, inline

ATTACKS = ("filter-search", "score-boundary", "square")
BOX = "jnd:0.38"
SIZES = (1, 2, 4, 8, 16)
RUN_S, BARE_S = 1.0, 0.5  # turns of the run and of the bare model
SETTLE_S = 0.02  # in which a halted run comes to rest
SECTIONS = (
    "process", "workers", "parts", "free", "slow", "service", "http", "large", "ray", "driver"
)  # fmt: skip
DOC = ROOT / "docs" / "engine.md"


@dataclass
class Bare:
    """The model alone on the images of a stack, in batches of one size."""

    scorer: Scorer
    stack: torch.Tensor
    batch: int
    images: int = 0
    seconds: float = 0.0

    def turn(self, seconds: float = BARE_S) -> None:
        """Score for that long."""
        started = time.perf_counter()
        until = started + seconds
        while time.perf_counter() < until:
            first = self.images % max(1, len(self.stack) - self.batch + 1)
            self.images += len(self.scorer(self.stack[first : first + self.batch]))
        self.seconds += time.perf_counter() - started

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def stacked(images: ImageSet) -> torch.Tensor:
    """All of them, (N, 3, H, W)."""
    return torch.stack([read_image(entry.path).pixels for entry in images])


def best_batch(scorer: Scorer, stack: torch.Tensor) -> int:
    """The size at which the bare model is fastest."""
    trials = [Bare(scorer, stack, size) for size in SIZES]
    for trial in trials * 3:
        trial.turn()
    return max(trials, key=lambda trial: trial.rate).batch


def engine_of(
    scorer: Scorer,
    attack: str,
    queries: int,
    progress: Callable[[Progress], None],
    pool: ScorePool | None = None,
) -> Engine:
    """As a run makes it, with its log in memory."""
    return Engine.in_process(
        scorer,
        load_attack(attack),
        parse_constraint(BOX),
        parse_objective("rank"),
        queries=queries,
        progress=progress,
        pool=pool,
    )


def process(images: ImageSet, queries: int) -> list[dict[str, str]]:
    """A row for each attack: in this process."""
    scorer, stack = cnniqa(), stacked(images)
    batch = best_batch(scorer, stack)
    rows = []
    for attack in ATTACKS:
        bare = SideBySide(1, len(images), batch, torch.get_num_threads())
        engine = engine_of(scorer, attack, queries, bare.take_turns)
        started = time.perf_counter()
        done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
        rate = done / (time.perf_counter() - started - bare.halted)
        rows.append(ratio_row(attack, rate, bare.rate))
        bare.close()
    return rows


def ratio_row(attack: str, rate: float, bare: float) -> dict[str, str]:
    """A row of the tables."""
    row = {
        "attack": attack,
        "queries/s": f"{rate:.0f}",
        "bare model, images/s": f"{bare:.0f}",
        "ratio": f"**{rate / bare:.3f}**",
    }
    print(" ".join(row.values()), flush=True)
    return row


# -- two workers ----------------------------------------------------------------------------------


def bare_process(connection: Connection, images: int, batch: int, threads: int) -> None:
    """The bare model, for the requested time at each turn."""
    torch.set_num_threads(threads)
    bare = Bare(cnniqa(), stacked(dev_images().limit(images)), batch)
    bare.turn(1.0)
    connection.send(batch)
    while (seconds := connection.recv()) is not None:
        before = bare.images, bare.seconds
        bare.turn(seconds)
        connection.send((bare.images - before[0], bare.seconds - before[1]))


class SideBySide:
    """Bare models in processes of their own, which take turns with a run that is halted.

    In the run's own process its threads would be in their way.
    """

    def __init__(self, models: int, images: int, batch: int, threads: int) -> None:
        context = get_context("spawn")
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        self.rate_sum = 0.0
        self.turns = 0
        self.halted = 0.0  # seconds in which the run was
        self._last = time.perf_counter()
        self._ends: list[Connection] = []
        for _ in range(models):
            ours, theirs = context.Pipe()
            context.Process(
                target=bare_process, args=(theirs, images, batch, threads), daemon=True
            ).start()
            self._ends.append(ours)
        for end in self._ends:
            end.recv()
        self._spared = {child.pid for child in psutil.Process().children(recursive=True)}
        self._own = self._spared - before

    def processor_time(self) -> float:
        """Seconds that this process and its children have had, but for the bare models."""
        us = psutil.Process()
        children = [c for c in us.children(recursive=True) if c.pid not in self._own]
        return sum(sum(process.cpu_times()[:2]) for process in [us, *children])

    def take_turns(self, state: Progress) -> None:
        """Called by the run after every reply."""
        if state.stage != "attack" or time.perf_counter() - self._last < RUN_S:
            return
        time.sleep(SETTLE_S)  # the run's time: what its threads are about comes to an end
        started = time.perf_counter()
        every = psutil.Process().children(recursive=True)
        workers = [child for child in every if child.pid not in self._spared]
        for worker in workers:
            worker.suspend()
        for end in self._ends:
            end.send(BARE_S)
        rates = [images / seconds for images, seconds in (end.recv() for end in self._ends)]
        for worker in workers:
            worker.resume()
        self.rate_sum += sum(rates)
        self.turns += 1
        self._last = time.perf_counter()
        self.halted += self._last - started

    @property
    def rate(self) -> float:
        """Images per second, all together."""
        return self.rate_sum / self.turns

    def close(self) -> None:
        """End them."""
        for end in self._ends:
            end.send(None)


def workers(images: ImageSet, queries: int) -> list[dict[str, str]]:
    """A row for each attack: two workers, from the first query of a search to the last file."""
    torch.set_num_threads(1)
    batch = best_batch(cnniqa(), stacked(images))
    torch.set_num_threads(2)
    weights = shared_data() / "models" / "cnniqa_live.pth"
    rows = []
    for attack in ATTACKS:
        bare = SideBySide(2, len(images), batch, 1)
        marks: list[tuple[float, int]] = []  # time and queries

        def progress(state: Progress, bare: SideBySide = bare, marks: list = marks) -> None:  # type: ignore[type-arg]
            bare.take_turns(state)
            if state.stage == "attack" and state.queries > len(images):
                marks.append((time.perf_counter(), state.queries))

        with tempfile.TemporaryDirectory() as folder:
            iqattack.attack(
                images,
                f"cnniqa:{weights}",
                attack=attack,
                constraint=BOX,
                queries=queries,
                workers=2,
                out=Path(folder) / "run",
                callbacks=iqattack.Callbacks(progress=progress),
            )
        (started, before), (ended, done) = marks[0], marks[-1]
        rate = (done - before) / (ended - started - bare.halted)
        rows.append(ratio_row(attack, rate, bare.rate))
        bare.close()
    return rows


# -- where it goes --------------------------------------------------------------------------------


class Clock:
    """Processor time that the calling thread spends in wrapped functions."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def around(self, owner: Any, name: str, label: str) -> None:
        """Measure a function of a module or class from now on."""
        function = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.spent[label] += time.thread_time() - began

        setattr(owner, name, timed)


def parts(images: ImageSet, queries: int) -> list[dict[str, str]]:
    """A row for each attack; the functions stay wrapped, so this runs in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(parts_of, ([entry.path for entry in images], queries))


def parts_of(paths: list[Path], queries: int) -> list[dict[str, str]]:
    """In the process: see `parts`."""
    torch.set_num_threads(1)
    keep_freed_memory()
    images, scorer, clock = ImageSet.from_spec(paths), cnniqa(), Clock()
    clock.around(inline, "ask", "model")
    clock.around(ImageDriver, "advance", "step")
    clock.around(Account, "admit", "account")
    clock.around(Account, "answer", "account")
    clock.around(QueryLog, "append", "log")
    rows = []
    for attack in ATTACKS:
        clock.spent.clear()
        began = time.thread_time()
        engine = engine_of(scorer, attack, queries, lambda _state: None)
        done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
        main = time.thread_time() - began
        spent = clock.spent
        shares = {
            "the model": spent["model"],
            "the attack": spent["step"] - spent["account"],
            "projection, rounding, hashes, the best": spent["account"],
            "the log": spent["log"],
            "scheduling, counting, progress": main - spent["model"] - spent["log"],
        }
        row = {"attack": attack} | {name: f"{1000 * s / done:.2f}" for name, s in shares.items()}
        print(" ".join(row.values()), flush=True)
        rows.append(row)
    return rows


# -- synthetic models ------------------------------------------------------------------------------


def sleeping(seconds: float) -> Scorer:
    """A scorer that waits, then returns the brightness of a few pixels, at almost no cost."""

    def score(images: torch.Tensor) -> torch.Tensor:
        time.sleep(seconds)
        return images[:, :, ::16, ::16].double().mean((1, 2, 3))

    return wrap(score, name="made up", score_range=(0.0, 255.0), lower_better=False)


def processor_time(images: ImageSet, queries: int, seconds: float) -> list[dict[str, str]]:
    """A row for each attack: processor time of a query beside one pass of CNNIQA at one thread."""
    torch.set_num_threads(1)
    scorer, stack, rows = cnniqa(), stacked(images), []
    for attack in ATTACKS:
        passes, bare_s, last = 0, 0.0, time.perf_counter()

        def bare(_state: Progress) -> None:
            nonlocal passes, bare_s, last
            if time.perf_counter() - last > RUN_S:
                began = time.thread_time()
                for k in range(20):
                    scorer(stack[k % len(stack)][None])
                passes, bare_s = passes + 20, bare_s + time.thread_time() - began
                last = time.perf_counter()

        engine = engine_of(sleeping(seconds), attack, queries, bare)
        began, wall = time.process_time(), time.perf_counter()
        done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
        spent = (time.process_time() - began - bare_s) / done
        rate = done / (time.perf_counter() - wall - bare_s)
        row = {
            "attack": attack,
            "processor time of a query / of a pass of CNNIQA": f"{spent / (bare_s / passes):.3f}",
        }
        if seconds:
            row["queries/s / calls of one image a second"] = f"**{rate * seconds:.3f}**"
        print(" ".join(row.values()), flush=True)
        rows.append(row)
    return rows


CALLS, CALL_S = 32, 0.1  # of a service: at once, and how long it takes
SERVED = 64  # pictures
MANY = 20_000  # requests in which memory must not grow


def served_images(folder: str) -> ImageSet:
    """As many pictures as a service is asked about, under names of their own."""
    for copy in range(3):
        for entry in dev_images():
            os.link(entry.path, Path(folder) / f"{copy}_{entry.name}")
    return ImageSet.from_folder(folder).limit(SERVED)


def against_ideal(attack: str, scorer: Scorer, pool: ScorePool, queries: int) -> dict[str, str]:
    """A row: queries per second of a run, over those that the service could answer.

    The ratio is that of the whole run, in which concurrent requests grow from one, and the last
    images are measured and written without any query left; beside it that of the middle half.
    """
    times: list[tuple[float, int]] = []
    engine = engine_of(
        scorer,
        attack,
        queries,
        lambda state: times.append((time.perf_counter(), state.queries)),
        pool,
    )
    with tempfile.TemporaryDirectory() as folder:
        images = served_images(folder)
        began = time.perf_counter()
        done = sum(item.queries for item in engine.run(images) if isinstance(item, Outcome))
        rate = done / (time.perf_counter() - began)
    quarters = [next(when for when, n in times if n >= share * done) for share in (0.25, 0.75)]
    middle = 0.5 * done / (quarters[1] - quarters[0])
    row = {
        "attack": attack,
        "queries/s": f"{rate:.0f}",
        "ideal": f"{CALLS / CALL_S:.0f}",
        "ratio": f"**{rate * CALL_S / CALLS:.3f}**",
        "middle half": f"{middle * CALL_S / CALLS:.3f}",
    }
    print(" ".join(row.values()), flush=True)
    return row


def service(queries: int) -> list[dict[str, str]]:
    """64 pictures of a service that takes 100 ms and 32 requests at once."""
    rows = []
    for attack in ATTACKS:
        scorer = sleeping(CALL_S)
        pool = Threads(scorer, CALLS)
        rows.append(against_ideal(attack, scorer, pool, queries))
        pool.close()
    return rows


@contextmanager
def slow_server(seconds: float) -> Iterator[str]:
    """The spec of a model behind HTTP, on this machine, in a process of its own."""
    program = Path(__file__).with_name("slow_server.py")
    with subprocess.Popen(
        [sys.executable, program, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}/score#score_range=0,100&lower_better=false"
        process.stdin.close()


def http(queries: int) -> list[dict[str, str]]:
    """The same over HTTP, PNG files and all; the last row is memory."""
    rows = []
    with slow_server(CALL_S) as spec:
        for attack in ATTACKS:
            scorer = load_model(spec)
            with How(concurrency=CALLS).pool_of(scorer) as pool:
                rows.append(against_ideal(attack, scorer, pool, queries))
            scorer.close()
    rows.append(memory_of_requests())
    return rows


def memory_of_requests() -> dict[str, str]:
    """A row: resident memory after all requests over that after a tenth of them."""
    process, sizes = psutil.Process(), dict[int, float]()

    def look(state: Progress) -> None:
        for mark in (MANY // 10, MANY):
            if state.queries >= mark and mark not in sizes:
                sizes[mark] = process.memory_info().rss / 2**20

    images = dev_images().limit(20)
    with slow_server(0.0) as spec:
        scorer = load_model(spec)
        pool = Threads(scorer, 8)
        engine = engine_of(scorer, "noise", MANY // len(images), look, pool)
        for _ in engine.run(images):
            pass
        pool.close()
        scorer.close()
    few, many = sizes[MANY // 10], sizes[MANY]
    row = {
        "attack": f"memory, {MANY:,} requests",
        "queries/s": f"{many:.0f} MiB",
        "ideal": f"{few:.0f} MiB after {MANY // 10:,}",
        "ratio": f"{many / few:.3f}",
        "middle half": "–",
    }
    print(" ".join(row.values()), flush=True)
    return row


# -- a large picture ------------------------------------------------------------------------------


def large(queries: int) -> list[dict[str, str]]:
    """Each box in a process of its own, for its peak."""
    rows = []
    for box in ("linf:3", BOX):
        command = [sys.executable, __file__, "--large", box, "--queries", str(queries)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        values = printed.splitlines()[-1].split()
        names = ("box", "s a query", "passes of CNNIQA", "peak, GiB", "longest pause, s")
        row = dict(zip(names, values, strict=True))
        print(" ".join(row.values()), flush=True)
        rows.append(row)
    return rows


def large_child(box: str, queries: int) -> None:
    """One picture of 24 megapixels, default attack; prints what it took."""
    torch.set_num_threads(2)
    scorer, stack = cnniqa(), stacked(dev_images().limit(4))
    pauses: list[float] = []
    marks: list[float] = []
    last = time.perf_counter()

    def progress(state: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
        if (state.stage == "attack" and not marks) or (state.queries == queries and len(marks) < 2):
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.png"
        source = Image.open(shared_data() / "kodak" / "01.png")
        source.resize((6000, 4000), Image.Resampling.LANCZOS).save(path, compress_level=1)
        last = time.perf_counter()
        iqattack.attack(
            path,
            sleeping(0.0),
            constraint=box,
            objective="up",
            queries=queries,
            out=Path(folder) / "run",
            callbacks=iqattack.Callbacks(progress=progress),
        )
    spent = (marks[1] - marks[0]) / (queries - 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.set_num_threads(1)
    began = time.process_time()
    for k in range(100):
        scorer(stack[k % len(stack)][None])
    passes = spent / ((time.process_time() - began) / 100)
    print(f"{box} {spent:.2f} {passes:.0f} {peak:.2f} {max(pauses):.1f}")


# -- a cluster, and who writes --------------------------------------------------------------------

ROUNDS = 3  # turns of each


def beside_bare(
    images: ImageSet, attack: str, queries: int, batch: int, engine: str
) -> tuple[float, float]:
    """Queries per second of two workers, over images per second of two bare models, and queries per
    second of processor time.
    """
    bare = SideBySide(2, len(images), batch, 1)
    marks: list[tuple[float, int, float]] = []  # time, queries, processor time
    last = 0.0

    def progress(state: Progress) -> None:
        nonlocal last
        bare.take_turns(state)
        now = time.perf_counter() - bare.halted
        at_it = state.stage == "attack" and state.queries > 2 * len(images)
        if at_it and (now - last > RUN_S / 4 or state.done == len(images)):
            marks.append((now, state.queries, bare.processor_time()))
            last = now

    with tempfile.TemporaryDirectory() as folder:
        iqattack.attack(
            images,
            f"cnniqa:{shared_data() / 'models' / 'cnniqa_live.pth'}",
            attack=attack,
            constraint=BOX,
            queries=queries,
            workers=2,
            engine=engine,
            out=Path(folder) / "run",
            callbacks=iqattack.Callbacks(progress=progress),
        )
    (began, before, spent), (ended, done, all_spent) = marks[0], marks[-1]
    bare.close()
    return (done - before) / (ended - began) / bare.rate, (done - before) / (all_spent - spent)


def ray(images: ImageSet, queries: int) -> list[dict[str, str]]:
    """A row for each attack: Ray and processes of this machine, one run after the other."""
    torch.set_num_threads(1)
    batch = best_batch(cnniqa(), stacked(images))
    torch.set_num_threads(2)  # one for each worker
    rows = []
    with connected(None):
        for attack in ATTACKS:
            turns = [
                [beside_bare(images, attack, queries, batch, name) for name in ("ray", "local")]
                for _ in range(ROUNDS)
            ]
            placed, local = (sum(share for share, _ in of) for of in zip(*turns, strict=True))
            by_time, local_by_time = (sum(n for _, n in of) for of in zip(*turns, strict=True))
            row = {
                "attack": attack,
                "with Ray / bare models": f"{placed / ROUNDS:.3f}",
                "--workers 2 / bare models": f"{local / ROUNDS:.3f}",
                "ratio": f"**{placed / local:.3f}**",
                "of each turn": ", ".join(f"{one[0] / other[0]:.2f}" for one, other in turns),
                "ratio by processor time": f"**{by_time / local_by_time:.3f}**",
            }
            print(" ".join(row.values()), flush=True)
            rows.append(row)
    return rows


def driver() -> list[dict[str, str]]:
    """In a process of its own, which keeps to one core."""
    program = Path(__file__).with_name("driver.py")
    printed = subprocess.run([sys.executable, program], check=True, capture_output=True, text=True)
    row: dict[str, str] = json.loads(printed.stdout.splitlines()[-1])
    print(" ".join(row.values()), flush=True)
    return [row]


# -- all together ---------------------------------------------------------------------------------

TITLES = {
    "process": "In one process",
    "workers": "Two workers at one thread each, measures and files included",
    "parts": "Where the processor time of a query goes, one thread, in milliseconds",
    "free": "A model that costs nothing",
    "slow": "A model that sleeps 20 ms a call",
    "service": "A service that takes 100 ms a request and 32 at once, 64 images",
    "http": "The same behind HTTP, in a process of its own",
    "large": "An image of 24 megapixels, a model that costs nothing",
    "ray": "Two workers that Ray places on one machine",
    "driver": "The process that writes, alone: simulated workers, batches of 16 images",
}


def kept_sections() -> dict[str, str]:
    """The text of each section in docs/engine.md so far."""
    if not DOC.is_file():
        return {}
    parts = re.split(r"^## (.+)$", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    by_title = dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))
    return {name: by_title[title] for name, title in TITLES.items() if title in by_title}


def measured(name: str, images: ImageSet, queries: int) -> Sequence[dict[str, str]]:
    """The rows of one section."""
    print(TITLES[name], flush=True)
    sections: dict[str, Callable[[], Sequence[dict[str, str]]]] = {
        "process": lambda: process(images, queries),
        "workers": lambda: workers(images, queries),
        "parts": lambda: parts(images.limit(8), queries),
        "free": lambda: processor_time(images, queries, 0.0),
        "slow": lambda: processor_time(images.limit(3), queries, 0.02),
        "service": lambda: service(queries),
        "http": lambda: http(queries),
        "large": lambda: large(60),
        "ray": lambda: ray(images, queries),
        "driver": driver,
    }
    return sections[name]()


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--large", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large:
        large_child(options.large, options.queries)
        return
    keep_freed_memory()  # as the command line does
    print(machine())
    images = dev_images().limit(options.images)
    said = kept_sections()
    for name in options.sections:
        torch.set_num_threads(options.threads)
        table = markdown(measured(name, images, options.queries))
        asked = f"`--images {options.images} --queries {options.queries} --sections {name}`"
        said[name] = f"{asked}\n\n{table}"
    torch.set_num_threads(options.threads)
    write_doc(
        DOC,
        "What the engine costs",
        "python benchmarks/engine.py",
        f"This page shows how much of the bare model's speed a run keeps, with CNNIQA and {BOX} "
        "on the development images. Run and bare model take turns. Each section may come from a "
        "separate call, with `--images 24 --queries 400` unless it says "
        "otherwise.\n\n"
        + "\n\n".join(f"## {TITLES[name]}\n\n{said[name]}" for name in SECTIONS if name in said),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
