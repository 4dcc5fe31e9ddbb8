"""A model whose range and direction are still to be found out."""

from __future__ import annotations

from dataclasses import replace

from iqattack.models import load_model
from iqattack.models.base import Loaded


def load(
    spec: str,
    *,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    device: str = "cpu",
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
) -> Loaded:
    """As `load_model`, but range and direction are None where neither declared nor given."""
    model = load_model(
        spec,
        score_range=(0.0, 1.0) if score_range is None else score_range,
        lower_better=bool(lower_better),
        device=device,
        input=input,
        timeout=timeout,
    )
    if score_range is None:
        score_range = getattr(model.function, "score_range", None)
    if lower_better is None:
        lower_better = getattr(model.function, "lower_better", None)
    return replace(model, score_range=score_range, lower_better=lower_better)  # type: ignore[arg-type]
