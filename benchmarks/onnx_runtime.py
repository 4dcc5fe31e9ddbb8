"""ONNX Runtime compared with PyTorch: the same networks, exported by examples/export_onnx.py.

    python benchmarks/onnx_runtime.py [--turns 20] [--graphs FOLDER]

Speeds are ratios: the two take turns on the same images. Writes docs/onnx.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import ROOT, dev_images, machine, markdown, shared_data, write_doc
from iqattack.images import read_image
from iqattack.models import Scorer, load_model, score_checked

DOC = ROOT / "docs" / "onnx.md"
BATCH = 8
THREADS = (1, 2)
WEIGHTS = shared_data() / "models" / "cnniqa_live.pth"
SPECS = {"builtin": "builtin", "cnniqa": f"cnniqa:{WEIGHTS}"}

USAGE = """\
iqattack can attack any ONNX graph with an output that gives a score:

```
pip install 'iqattack[onnx]'
iqattack attack photos --model onnx:nima.onnx,expectation=1..10 --input imagenet --out runs/photos
```

The graph has one input, an RGB or grey image: `(N, C, H, W)`, `(N, H, W, C)`, or either without N;
uint8, float, float16 or double. Inputs with a default value keep it. Layout, channels, size and
batch are read from the graph. `--input` supplies what the graph does not specify:

- For a graph with floating-point input, the range of values: `float01`, `float255`, `imagenet`, or
  `mean=…,std=…`. Required.
- `bgr`, if the channels are in that order; `nchw` or `nhwc`, if all axes are dynamic. `numpy`,
  `pil`, `path`, `tensor` and `single` are refused, because the graph determines them.
- `size=`, `crop=` and `resample=`. By default, images are resized (bilinear) to the graph's size if
  that is fixed, and iqattack prints a note.

## From outputs to scores

| option | the score of an image |
| --- | --- |
| none | the only number that the graph gives for it |
| `output=NAME` | is read from this output; required if the graph has several |
| `index=K` | class K, counted from 0, or from the end if negative |
| `softmax` | softmax over the classes, before `index` or `expectation` |
| `expectation=A..B` | the mean of A, A+1, …, B under the class probabilities (NIMA) |
| `mean` | the mean over all other axes, for patch scores and maps |
| `batch=N` | is computed in batches of N; see below |

Classes are the last axis of an output; in a map `(N, K, h, w)` of an NCHW graph, the second.
`expectation` declares the range A..B and that higher is better. `softmax,index=K` declares 0..1 and
needs `--lower-better` or `--no-lower-better`. All other scores need `--score-range`, too. iqattack
runs the graph on a grey image when it loads it, so unsuitable options fail before a run, and one
message names everything that is missing. `softmax` on outputs that are already probabilities is an
error, too.

## Batches and threads

On the CPU, images go through the graph one by one, on as many threads as PyTorch has, so a score
does not depend on its batch. `batch=N` gives this up, and makes the models below little faster, if
at all. A graph with a fixed batch of N gets N images at once; the last call is padded with repeats.
`--device cuda` needs `onnxruntime-gpu` and scores whole batches.

## Exporting a model

`python examples/export_onnx.py FOLDER --weights cnniqa.pth` (with `pip install onnx onnxscript`)
exports the built-in model and CNNIQA, for images of any size, and compares their scores with
PyTorch's. Then:

```
iqattack attack photos --model onnx:FOLDER/builtin.onnx --input float255 \\
    --score-range 0,100 --no-lower-better --out runs/photos
```

## Agreement and speed
"""


def exported(folder: Path) -> Path:
    """The folder, with graphs of both models."""
    if not all((folder / f"{name}.onnx").is_file() for name in SPECS):
        program = ROOT / "examples" / "export_onnx.py"
        command = [sys.executable, str(program), str(folder), "--weights", str(WEIGHTS)]
        subprocess.run(command, check=True)
    return folder


def graph(folder: Path, name: str, options: str = "") -> Scorer:
    """One of the graphs as a black box."""
    return load_model(
        f"onnx:{folder / name}.onnx{options}",
        score_range=(0.0, 100.0),
        lower_better=name == "cnniqa",
        input="float255",
    )


def agreement(folder: Path, name: str, images: Tensor) -> dict[str, str]:
    """A row: how far scores of the development images are apart."""
    ours = score_checked(load_model(SPECS[name]), images)
    one_by_one = score_checked(graph(folder, name), images)
    batched = score_checked(graph(folder, name, f",batch={BATCH}"), images)
    apart = [float((one_by_one - other).abs().max()) / 100.0 for other in (ours, batched)]
    return {
        "": name,
        "from PyTorch": f"{apart[0]:.1e}",
        f"from the same graph with batch={BATCH}": f"{apart[1]:.1e}",
    }


def seconds(scorer: Scorer, parts: Sequence[Tensor]) -> float:
    """Of scoring all parts, a call each."""
    started = time.perf_counter()
    for part in parts:
        scorer(part)
    return time.perf_counter() - started


def speed(folder: Path, name: str, images: Tensor, threads: int, turns: int) -> dict[str, str]:
    """A row: images per second over those of PyTorch, medians over turns with their quartiles."""
    torch.set_num_threads(threads)
    ours, one_by_one = load_model(SPECS[name]), graph(folder, name)
    batched = graph(folder, name, f",batch={BATCH}")
    row = {"": name, "threads": str(threads)}
    for label, scorer, size in (
        ("1 image a call", one_by_one, 1),
        (f"{BATCH} images a call", one_by_one, BATCH),
        (f"{BATCH} images a call, batch={BATCH}", batched, BATCH),
    ):
        parts = images.split(size)  # type: ignore[no-untyped-call]
        ratios = [seconds(ours, parts) / seconds(scorer, parts) for _ in range(turns)]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        row[label] = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return row


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--graphs", type=Path, help="folder of graphs, exported if absent")
    options = parser.parse_args()
    print(machine())
    images = torch.stack([read_image(entry.path).pixels for entry in dev_images()])
    with tempfile.TemporaryDirectory() as scratch:
        folder = exported(options.graphs or Path(scratch))
        apart = [agreement(folder, name, images) for name in SPECS]
        faster = [
            speed(folder, name, images[:BATCH], threads, options.turns)
            for name in SPECS
            for threads in THREADS
        ]
    write_doc(
        DOC,
        "ONNX models",
        f"python benchmarks/onnx_runtime.py --turns {options.turns}",
        f"{USAGE}\nLargest difference between scores of the {len(images)} development images, as a "
        f"fraction of the score range:\n\n{markdown(apart)}\n\nImages per second, relative to "
        "PyTorch's, which takes turns with ONNX Runtime on the same images; above 1, ONNX Runtime "
        f"is faster. Medians with quartiles:\n\n{markdown(faster)}",
    )


if __name__ == "__main__":
    main()
