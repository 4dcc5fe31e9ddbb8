"""The command line. It begins with Ctrl-C, so that nothing heavy is imported before."""

from iqattack.cli.interrupts import end_at_once

TYPE_CHECKING = False  # as in `interrupts`
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: "Sequence[str] | None" = None) -> int:
    """Run the program and return its exit status.

    args: those of the process by default, which then is the program's own: Ctrl-C ends it at once
    wherever a command does not see to it, to the end of the process.

    0: fine; 1: some images failed, or verification found differences; 2: wrong usage or input;
    130: interrupted.
    """
    if args is None:
        end_at_once()
    from iqattack.cli.app import run  # noqa: PLC0415 - not before Ctrl-C is seen to

    return run(args)
