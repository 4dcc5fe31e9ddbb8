"""Scorer pools: in this process, in threads, in worker processes, or on any executor."""

from iqattack.scoring.ceiling import Ceiling, CeilingReached
from iqattack.scoring.contract import Reply, Request, ScorePool
from iqattack.scoring.executor import Executor, Threads
from iqattack.scoring.in_process import InProcess
from iqattack.scoring.pool import Pool, check_batch
from iqattack.scoring.processes import Processes, threads_each
from iqattack.scoring.recompressed import Recompressed, check_quality
from iqattack.scoring.retry import DEFAULT_RETRY, NO_RETRY, Retry

__all__ = [
    "DEFAULT_RETRY",
    "NO_RETRY",
    "Ceiling",
    "CeilingReached",
    "Executor",
    "InProcess",
    "Pool",
    "Processes",
    "Recompressed",
    "Reply",
    "Request",
    "Retry",
    "ScorePool",
    "Threads",
    "check_batch",
    "check_quality",
    "threads_each",
]
