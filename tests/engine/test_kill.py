"""A run that is killed again and again ends as one that was left alone."""

import os
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from iqattack.engine import QueryLog

IMAGES, QUERIES, BATCH, KILLS = 9, 110, 3, 20

MODEL = """
import os, time
import torch
from iqattack.engine import image_hash

def load():
    asked = os.open(os.environ["ASKED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def score(images):
        scores = []
        for image in images:
            grey = image.int()
            fine = (grey[:, :, 1:] - grey[:, :, :-1]).abs().sum()
            scores.append(int(3 * fine + grey.sum()) / image.numel())
            time.sleep(0.0015)
            os.write(asked, f"{image_hash(image):020d}\\n".encode())
        return scores

    score.score_range, score.lower_better = (0.0, 400.0), False
    return score
"""
LINE = 21  # bytes of the side file per image scored

PROGRAM = "import sys; from iqattack.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_twenty_kills_lose_at_most_the_batch_in_flight(kit, tmp_path):
    (tmp_path / "images").mkdir()
    kit.write_set(tmp_path / "images", [(48, 40), (40, 48), (48, 40)] * (IMAGES // 3))
    (tmp_path / "model.py").write_text(MODEL)

    def start(out, asked, *options):
        command = [
            *(sys.executable, "-c", PROGRAM, "attack", tmp_path / "images"),
            *("--model", f"{tmp_path / 'model.py'}:load", "--attack", "score-boundary"),
            *("--queries", QUERIES, "--batch", BATCH, "--out", out, *options),
        ]
        return subprocess.Popen(
            list(map(str, command)),
            env=os.environ | {"ASKED": str(asked), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(process):
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    whole, asked = tmp_path / "whole", tmp_path / "asked-whole"
    finish(start(whole, asked))
    final = rows_of(whole, kit)
    assert sum(map(len, final.values())) == asked.stat().st_size // LINE == IMAGES * QUERIES

    out, asked = tmp_path / "killed", tmp_path / "asked-killed"
    asked.touch()
    chance = random.Random(20)
    rows = {}
    for kill in range(1, KILLS + 1):
        # Until so many more images were scored; now and then none, while it starts.
        wanted = asked.stat().st_size // LINE + max(0, chance.randrange(-5, 41))
        process = start(out, asked, *(["--resume"] if (out / "run.toml").exists() else []))
        while asked.stat().st_size // LINE < wanted and process.poll() is None:
            time.sleep(0.0005)
        # Saving a result takes longer than a batch does, and is to be hit, too.
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -9, f"kill {kill}: it was over already: {errors}"

        before, rows = rows, rows_of(out, kit)
        assert all(len(rows[name]) >= len(before[name]) for name in before)
        assert all(rows[name] == final[name][: len(rows[name])] for name in rows)
        scored = Counter(map(int, asked.read_text().split()))
        logged = Counter(digest for image in rows.values() for digest, _ in image)
        assert logged <= scored
        assert (scored - logged).total() <= kill * BATCH
        same_pictures(whole, out, finished(out))

    finish(start(out, asked, "--resume"))
    assert rows_of(out, kit) == final
    assert asked.stat().st_size // LINE <= IMAGES * QUERIES + KILLS * BATCH
    assert len(finished(out)) == IMAGES
    same_pictures(whole, out, finished(out))
    assert sorted(p.name for p in (out / "adversarial").iterdir()) == sorted(
        p.name for p in (whole / "adversarial").iterdir()
    )
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def rows_of(folder, kit):
    """The log's rows by image; none before there is a log."""
    path = folder / "log.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return {}
    with QueryLog(path, read_only=True) as log:
        return kit.all_rows(log)


def finished(folder):
    """Images with a result in the log."""
    path = folder / "log.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return []
    with QueryLog(path, read_only=True) as log:
        return list(log.results())


def same_pictures(one, other, names):
    for name in names:
        pictures = [(folder / "adversarial" / name).read_bytes() for folder in (one, other)]
        assert pictures[0] == pictures[1], name
