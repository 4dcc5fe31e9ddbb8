"""Checks of a model before it is attacked."""

from __future__ import annotations

from iqattack.api.common import Images, behind, check_scorer, closing, loading_model, resolve_images
from iqattack.models import Loaded, Scorer, Traits, load_model
from iqattack.probing import QUERIES, Probe
from iqattack.probing import probe as run_probe
from iqattack.runs import Callbacks


def probe(
    model: Scorer | str,
    images: Images | None = None,
    *,
    defence: str | None = None,
    queries: int = QUERIES,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    convert: bool = False,
    resize: int | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Probe:
    """Find a model's quirks before they spoil a result.

    model: a spec, which may declare neither range nor direction, or a loaded model. images: test
    images; the sample set by default. queries: number of images that may be sent. Other arguments
    as in `attack`.

    A failure of the model is a finding. Raises InputError for a model or images that cannot be
    loaded.

    >>> import iqattack
    >>> found = iqattack.probe("builtin", "photos", queries=20)
    >>> found.ok, found.queries <= 20
    (True, True)
    """
    model = behind(defence, model)
    notify = callbacks or Callbacks()
    loaded: Loaded
    if isinstance(model, str):
        notify.loading(loading_model(model))
        loaded = load_model(
            model,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            declared=False,
        )
    else:
        check_scorer(model)
        loaded = model
    for phrase in Traits.of(loaded).notes:
        notify.note("model", phrase)
    chosen = None
    if images is not None:
        chosen, _, _ = resolve_images(images, None, None, False, None, notify)
        for phrase in chosen.notes:
            notify.note("images", phrase)
    with closing(loaded, model):
        return run_probe(
            loaded,
            chosen,
            queries=queries,
            convert=convert,
            resize=resize,
            progress=notify.probed,
        )
