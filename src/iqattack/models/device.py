"""Where a network runs."""

from __future__ import annotations

import torch

from iqattack.errors import DeviceError, one_line


def usable_device(name: str) -> torch.device:
    """The device of that name; DeviceError where torch has no such device or cannot use it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DeviceError(f"device '{name}' cannot be used: {one_line(error)}") from error
