"""Where a network runs, and how images get there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from iqattack.errors import DeviceError, one_line


def usable_device(name: str) -> torch.device:
    """The device of that name; DeviceError where torch has no such device or cannot use it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DeviceError(f"device '{name}' cannot be used: {one_line(error)}") from error


def dealt(name: str) -> tuple[str, ...]:
    """The devices that workers take in turn: every GPU for `cuda`, any other device by itself."""
    gpus = torch.cuda.device_count() if name == "cuda" else 0
    return tuple(f"cuda:{k}" for k in range(gpus)) or (name,)


def in_turn(choices: int, taken: Iterable[int]) -> int:
    """The number, of so many choices, that whoever starts next takes: what fewest others have.

    taken: numbers of those who are there.
    """
    having = Counter(taken)
    return min(range(choices), key=having.__getitem__)


def sent(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device, in one transfer; themselves where they are there already.

    From pinned memory, and without waiting for it: what the device is to do with them queues up
    behind, and only the copy of the scores back waits.
    """
    if images.device == device or device.type == "cpu":
        return images
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=device.type == "cuda")
