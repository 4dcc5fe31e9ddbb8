"""How torch runs a network, if not in eager float32. Both options change scores."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from iqattack.errors import InputError, one_line, unknown

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Inference:
    """compile: with `torch.compile`, for any image and batch size. autocast: to `bfloat16` or
    `float16`, for the operations that torch considers safe; None for float32 throughout.

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
        """Notes for the user, one phrase each."""
        found = []
        if self.compile:
            found.append("runs compiled by torch.compile: scores differ slightly from eager mode's")
        if self.autocast is not None:
            found.append(f"runs under autocast to {self.autocast}: scores differ from float32's")
        return tuple(found)

    def refuse(self, model: str, what: str = "") -> None:
        """Raise InputError, if an option is given, for a model that is not a torch module but
        `what`."""
        if self.options:
            raise InputError(
                f"model '{model}' is {what and f'{what}, '}not a torch module; leave out "
                f"{self.options}"
            )

    def compiled(self, module: nn.Module, model: str) -> None:
        """Compile a module in place, if requested; InputError if torch cannot.

        One graph serves all sizes: with one graph per size, torch gives up after a few sizes and
        continues in eager mode, so that scores would depend on earlier ones.
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
        """The context in which the network runs."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device.type, AUTOCAST[self.autocast])


EAGER = Inference()
