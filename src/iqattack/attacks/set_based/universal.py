"""A universal perturbation: learnt once, applied to any image (Moosavi-Dezfooli et al., CVPR 2017).

`iqattack universal` learns one from scores (`universal_ways.py`); this attack applies it, at one
query per pattern.
"""

from __future__ import annotations

from pathlib import Path

import torch

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import CountFromOne, UniversalFile
from iqattack.attacks.shared.painting.layer import Layer
from iqattack.directions import read_universal
from iqattack.errors import InputError

BUNDLED = Path(__file__).with_name("universal_builtin.safetensors")


def universal(task: Task, file: UniversalFile = BUNDLED, k: CountFromOne = 1) -> Search:
    """The first patterns of a file, one query each.

    file: `perturbation.safetensors` of `iqattack universal`, by default one that was learnt on
        the built-in model; k: maximum number of patterns to try.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    patterns = read_universal(file).patterns(rising=task.rising)
    if not patterns:
        way, other = ("rise", "fall") if task.rising else ("fall", "rise")
        raise InputError(
            f"universal perturbation '{file}': was learnt for scores that {other}, and this one is "
            f"to {way}; learn one with objective rank"
        )
    lay = Layer(task)
    for pattern in patterns[:k]:
        yield lay(pattern)[None]
