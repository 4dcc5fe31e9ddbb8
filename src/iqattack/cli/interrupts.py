"""Handle Ctrl-C at any moment of the program's life, without a traceback.

`cli/__init__.py` imports this module first, and it imports as little as possible itself, because
Python's own handler is in place until then. Hence also the quoted annotations.
"""

import os
import signal

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than everything here
if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130  # as a shell reports a program that SIGINT ended


def end_at_once(tidy: "Callable[[], object]" = lambda: None) -> None:
    """From now on, let Ctrl-C end the process silently, with status 130.

    Meant for imports and the interpreter's shutdown: an extension module may swallow a
    KeyboardInterrupt that is raised inside it, or turn it into another error. Nothing is closed or
    written.

    tidy: called first. A process that ignores Ctrl-C, as in the background, still ignores it;
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
