"""Repeated options and empty values on a command line are errors.

Otherwise the second of two equal options would win silently, and an empty path would mean the
working folder.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand

from iqattack.errors import InputError


class OnceCommand(TyperCommand):
    """A command whose options may be given once each, `--check` and `--no-check` being one; only
    those that take several values may be repeated.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Extend the base class: a usage error for a repeated option, InputError for an empty
        value.
        """
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        if any(given.is_eager for given in order):  # such as --help: nothing else is checked
            return super().parse_args(ctx, args)
        for option, times in Counter(order).items():
            single = option.param_type_name == "option"
            if times > 1 and single and not (getattr(option, "multiple", False)):
                names = " or ".join([*option.opts, *option.secondary_opts])
                ctx.fail(f"{names} is given {times} times; give it once")
        for given in order:
            value = values[given.name]
            if "" in (value if isinstance(value, list | tuple) else [value]):
                named = given.param_type_name == "option"
                name = given.opts[0] if named else given.name.upper()
                rest = "" if given.required else ", or leave it out"
                raise InputError(f"{name}: its value is empty; give one{rest}")
        return super().parse_args(ctx, args)
