"""Ctrl-C at any moment of the program's life, without a traceback.

`cli/__init__.py` imports this module before all others of ours: what it imports in turn is time in
which Python's own handler is still in place. Hence the annotations in quotes, too.
"""

import os
import signal

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than the rest of this
if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130  # as a shell reports a program that SIGINT ended


def end_at_once(tidy: "Callable[[], object]" = lambda: None) -> None:
    """From now on Ctrl-C ends the process, with status 130 and nothing said.

    For imports and the interpreter's own end: an extension module may swallow a KeyboardInterrupt
    that is raised inside it, or turn it into another error. Nothing is closed or written.

    tidy: called first. A process that ignores Ctrl-C, as one in the background does, goes on to;
    outside the main thread, where no handler can be set, nothing changes.
    """

    def leave(*_: object) -> None:
        try:
            tidy()
        finally:
            os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        try:
            signal.signal(signal.SIGINT, leave)
        except ValueError:
            return
