"""The model in this process."""

from __future__ import annotations

import torch

from iqattack.models import Scorer
from iqattack.scoring.contract import Backend
from iqattack.scoring.executor import DaemonThreads, Submitted
from iqattack.scoring.inline import Inline
from iqattack.scoring.pool import Pool
from iqattack.scoring.retry import DEFAULT_RETRY, Retry


class InProcess(Pool):
    """The model in this process, in batches.

    It is called from the thread that waits for replies. One that is `thread_safe` is called from as
    many threads as torch has here, each with one thread of torch: no core waits for another one.
    """

    def __init__(
        self, scorer: Scorer, *, batch: int | None = None, retry: Retry = DEFAULT_RETRY
    ) -> None:
        self._threads: DaemonThreads | None = None
        threads = torch.get_num_threads()
        backend: Backend = Inline(scorer)
        if threads > 1 and getattr(scorer, "thread_safe", False):
            self._threads = DaemonThreads(threads, torch_threads=1)
            # One call for each thread, and one that it goes on with.
            backend = Submitted(scorer, self._threads, 2 * threads)
            batch = batch or 1  # the threads are what is to be filled
        super().__init__(backend, batch=batch, retry=retry)

    def close(self) -> None:
        """End the threads, if there are any."""
        super().close()
        if self._threads is not None:
            self._threads.close()
