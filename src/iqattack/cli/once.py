"""An option that is given twice: the second would win in silence, so it is an error."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand


class OnceCommand(TyperCommand):
    """A command whose options may be given once each, `--check` and `--no-check` being one; those
    that take several values, again and again.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class does; a usage error for an option that comes twice."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(order).items():
            single = option.param_type_name == "option" and not option.is_eager  # such as --help
            if times > 1 and single and not (getattr(option, "multiple", False)):
                names = " or ".join([*option.opts, *option.secondary_opts])
                ctx.fail(f"{names} is given {times} times; give it once")
        return super().parse_args(ctx, args)
