"""The command line. Ctrl-C is handled first, before anything heavy is imported."""

from iqattack.cli.interrupts import end_at_once

TYPE_CHECKING = False  # as in `interrupts`
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: "Sequence[str] | None" = None) -> int:
    """Run the program and return its exit status.

    args: by default those of the process.

    Ctrl-C then ends the process at once, unless a command handles it. Exit status: 0, success; 1,
    some images failed, or verification found differences; 2, wrong usage or input; 130,
    interrupted.
    """
    if args is None:
        end_at_once()
    from iqattack.cli.app import run  # noqa: PLC0415 - after Ctrl-C is handled

    return run(args)
