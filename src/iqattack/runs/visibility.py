"""How visible the changes of a run are to metrics that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iqattack.errors import RunError
from iqattack.images import read_image
from iqattack.models import PyiqaReference
from iqattack.runs.run import Run
from iqattack.runs.summary import Measured, mean_measured


def full_reference(
    run: Run,
    metrics: Sequence[str],
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Measured]:
    """Means over the attacked images of full-reference metrics of pyiqa, by name: lpips, dists, …

    metrics: as pyiqa calls them, with options as in a model's spec. Clean images are read again
    from where they were. progress: is told (images done, images).

    Raises InputError without pyiqa, for metrics that it does not have or that fail, RunError for a
    clean image that is another one now.
    """
    loaded = {name: PyiqaReference(name, device) for name in metrics}
    done = [result for result in run.results if not result.failed]
    values: dict[str, list[float]] = {name: [] for name in loaded}
    for number, result in enumerate(done, 1):
        clean = run.read_clean(result.path)
        if not result.is_of(clean):
            raise RunError(f"{result.path}: is another image than was attacked; put it back")
        attacked = read_image(run.images / result.png_name).pixels
        for name, metric in loaded.items():
            values[name].append(metric(attacked, clean))
        progress(number, len(done))
    return {name: mean_measured(found) for name, found in values.items()}
