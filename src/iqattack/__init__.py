"""Query-based black-box attacks on no-reference image quality models.

The names of `iqattack.api` are imported when first used, so that `import iqattack` is quick.
"""

from iqattack.version import __version__

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than this whole package
if TYPE_CHECKING:
    from typing import Any

    from iqattack import api
    from iqattack.api import (
        Answer,
        Callbacks,
        Executor,
        ImageSet,
        InProcess,
        Processes,
        Retry,
        Task,
        Threads,
        TransientError,
        apply,
        attack,
        audit,
        check_card,
        compare,
        defend,
        defended,
        detect,
        evaluate,
        export,
        leaderboard,
        load_model,
        merge,
        open_run,
        plot,
        probe,
        profile,
        report,
        rescore,
        survey,
        universal,
        verify,
        wrap,
    )

__all__ = [
    "Answer",
    "Callbacks",
    "Executor",
    "ImageSet",
    "InProcess",
    "Processes",
    "Retry",
    "Task",
    "Threads",
    "TransientError",
    "__version__",
    "api",
    "apply",
    "attack",
    "audit",
    "check_card",
    "compare",
    "defend",
    "defended",
    "detect",
    "evaluate",
    "export",
    "leaderboard",
    "load_model",
    "merge",
    "open_run",
    "plot",
    "probe",
    "profile",
    "report",
    "rescore",
    "survey",
    "universal",
    "verify",
    "wrap",
]


def __getattr__(name: str) -> "Any":
    if name not in __all__:
        raise AttributeError(f"module 'iqattack' has no attribute '{name}'")
    import importlib  # noqa: PLC0415 - not before it is needed

    api = importlib.import_module("iqattack.api")
    return api if name == "api" else getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
