"""Where a network runs, and how images get there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from iqattack.errors import DeviceError, one_line


def usable_device(name: str) -> torch.device:
    """The device of that name; DeviceError if torch has no such device or cannot use it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DeviceError(f"device '{name}' cannot be used: {one_line(error)}") from error


def dealt(name: str) -> tuple[str, ...]:
    """The devices over which workers are spread: every GPU for `cuda`, any other device alone."""
    gpus = torch.cuda.device_count() if name == "cuda" else 0
    return tuple(f"cuda:{k}" for k in range(gpus)) or (name,)


def in_turn(choices: int, taken: Iterable[int]) -> int:
    """The index, among `choices`, for the next worker: the one with the fewest workers.

    taken: indices of present workers.
    """
    having = Counter(taken)
    return min(range(choices), key=having.__getitem__)


def sent(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device, in one transfer; unchanged if they are there already.

    The transfer from pinned memory is asynchronous: work on the images queues up behind it, and
    only copying the scores back waits.
    """
    if images.device == device or device.type == "cpu":
        return images
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=device.type == "cuda")
