"""Stands in for `subprocess` in `iqattack.children`: workers are forked, and import nothing anew.

For a program with few threads, which the tests start: forked workers are its own children, and end
with it as any others do.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import iqattack.children


class Forked:
    """A forked worker, as far as `Child` uses a `Popen`."""

    def __init__(self, command, *, pass_fds, env, **_):
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _serve(command[-1], pass_fds[0], env)
        self._status = None

    def wait(self, timeout=None):
        """The exit status, or minus the number of the signal that killed it."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._status is None:
            pid, status = os.waitpid(self.pid, 0 if until is None else os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("a worker", timeout)
            else:
                time.sleep(0.005)
        return self._status

    def kill(self):
        """As that of `Popen`, which kills nobody who has its number by now."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)


def _serve(program, end, environment):
    """In the child: what a new process would have run, with what it would have had open."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # what the program writes to closes
        # Others' connections would not close with their owners, nor locks be released.
        os.closerange(3, end)
        os.closerange(end + 1, os.sysconf("SC_OPEN_MAX"))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(environment)
        exec(program, {})
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def fork_workers(new: int = 0) -> None:
    """From now on. new: every n-th worker starts as users' workers do; 0: none."""
    number = itertools.count(1)

    def start(command, **options):
        as_usual = new and next(number) % new == 0
        return (subprocess.Popen if as_usual else Forked)(command, **options)

    stand_in = SimpleNamespace(
        Popen=start, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    setattr(iqattack.children, "subprocess", stand_in)  # noqa: B010 - it has no such name for mypy
