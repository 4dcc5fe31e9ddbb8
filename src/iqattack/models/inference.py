"""How torch runs a network where that is not eager float32. Either option changes scores."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from iqattack.errors import InputError, one_line, unknown

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Inference:
    """compile: by `torch.compile`, for any size of image and batch. autocast: operations for which
    torch holds that to be safe run in `bfloat16` or `float16`; None for float32 throughout.

    Raises InputError for another dtype.
    """

    compile: bool = False
    autocast: str | None = None

    def __post_init__(self) -> None:
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise unknown("autocast dtype", str(self.autocast), AUTOCAST)

    @property
    def options(self) -> str:
        """Those given, as on the command line: `--compile --autocast bfloat16`."""
        found = ["--compile"] if self.compile else []
        return " ".join(found if self.autocast is None else [*found, f"--autocast {self.autocast}"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, a phrase each."""
        found = []
        if self.compile:
            found.append("runs compiled by torch.compile: scores differ slightly from eager mode's")
        if self.autocast is not None:
            found.append(f"runs under autocast to {self.autocast}: scores differ from float32's")
        return tuple(found)

    def refuse(self, model: str, what: str = "") -> None:
        """InputError, if an option is given, for a model that is no torch module, but `what`."""
        if self.options:
            raise InputError(
                f"model '{model}' is {what and f'{what}, '}no torch module: leave out "
                f"{self.options}"
            )

    def compiled(self, module: nn.Module, model: str) -> None:
        """Compile a module in place, if that is wanted; InputError where torch cannot.

        One graph for all sizes: with a graph for each, torch gives up after a few sizes and goes on
        in eager mode, so that a score would depend on what was scored before it.
        """
        if not self.compile:
            return
        try:
            nn.Module.compile(module, dynamic=True)
        except Exception as error:  # of a scripted module, or a version of Python without support
            raise InputError(
                f"model '{model}': --compile: {one_line(error)}; leave it out"
            ) from error

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """What the network runs in."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, AUTOCAST[self.autocast])


EAGER = Inference()
