"""The no-reference metrics of pyiqa (Chen & Mo, IQA-PyTorch) as black boxes: `pyiqa:NAME`."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError, one_line, unknown
from iqattack.imports import absolute
from iqattack.models.checked import per_image
from iqattack.models.device import sent, usable_device
from iqattack.models.inference import EAGER, Inference
from iqattack.models.pyiqa_table import METRICS, NOT_OF_ONE_IMAGE, ONE_BY_ONE
from iqattack.paths import why_no_file

_NUMBER = r"~?\s*(-?\d+(?:\.\d+)?)"


def parse_range(text: str | None) -> tuple[float, float] | None:
    """pyiqa's range as numbers: '0, 100', or '~0, ~1' where approximate; None where open."""
    match = re.fullmatch(rf"\s*{_NUMBER}\s*,\s*{_NUMBER}\s*", text or "")
    return (float(match[1]), float(match[2])) if match else None


def parse_options(spec: str) -> tuple[str, dict[str, Any]]:
    """'NAME,option=value,...' as the name and its options: Python literals, or else strings."""
    name, *parts = spec.split(",")
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (equals and key.strip().isidentifier()):
            raise InputError(
                f"model 'pyiqa:{spec}': option '{part}': expected pyiqa:NAME,option=value"
            )
        try:
            options[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key.strip()] = value
    return name, options


class Pyiqa:
    """One no-reference metric of pyiqa, with the range and direction of pyiqa_table.py.

    A metric of another version that is missing there has the rough range that pyiqa lists. Images
    are scored one by one on the CPU, so that a score does not depend on its batch, and in one batch
    elsewhere. Every call uses the same seeds, and restores the global random state afterwards.
    """

    def __init__(self, spec: str, device: str = "cpu", inference: Inference = EAGER) -> None:
        """spec: 'NAME[,option=value]', options as `pyiqa.create_metric` takes them.

        Raises InputError without pyiqa, for an unknown or full-reference metric, options that it
        does not take, and weights that are neither here nor to be downloaded.
        """
        configs, create_metric = _import_pyiqa()
        metric, options = parse_options(spec)
        config, usable = _entry(configs, metric, "NR")
        kind = config["metric_opts"]["type"]
        if metric not in usable:
            raise InputError(
                f"pyiqa metric '{metric}' needs a reference image; expected a no-reference metric"
                " such as brisque, niqe or musiq"
            )
        if kind in NOT_OF_ONE_IMAGE:
            raise InputError(
                f"pyiqa metric '{metric}' does not score an image: {NOT_OF_ONE_IMAGE[kind]}"
            )
        self.device = usable_device(device)
        if kind == "MACLIP" and self.device.type != "cuda":
            raise InputError(f"pyiqa metric '{metric}' runs only on CUDA; use --device cuda")
        _check_files(metric, options)
        self.name = f"pyiqa:{metric}"
        self.spec = f"pyiqa:{','.join([metric, *map(_absolute, spec.split(',')[1:])])}"
        self.files = tuple(
            absolute(value)
            for value in options.values()
            if isinstance(value, str) and Path(value).is_file()
        )
        known = METRICS.get(metric)
        if known is not None:
            self.score_range: tuple[float, float] | None = known.score_range
            self.lower_better = known.lower_better
            # NIQE, NRQM and PI leave out a border first; PI's table entry has its own.
            border = options.get("crop_border", 0) if kind != "PI" else 0
            self.min_size = known.min_size + 2 * (border if isinstance(border, int) else 0)
        else:
            self.score_range = parse_range(config.get("score_range"))
            self.lower_better = bool(config.get("lower_better", False))
            self.min_size = 1
        self.notes = tuple(_notes(metric, options))
        self._one_by_one = self.device.type == "cpu" or kind in ONE_BY_ONE
        self._metric = _create(create_metric, metric, options, self.device)
        self.inference = inference
        if inference.options:
            if not any(True for _ in self._metric.net.parameters()):
                inference.refuse(self.name, "a metric without a network")
            inference.compiled(self._metric.net, self.name)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8; NaN if the metric is undefined."""
        return per_image(self._score, images) if self._one_by_one else self._score(images)

    def differentiable(self, images: Tensor) -> Tensor:
        """Raw scores (N,) of float images, with their graph, where the metric has one."""
        # Around the wrapper, which turns gradients off.
        with self.inference.context(self.device):
            answer = self._metric.net(images.to(self.device) / 255.0)
        return torch.as_tensor(answer).reshape(-1)

    def _score(self, images: Tensor) -> Tensor:
        try:
            with _fixed_seeds(self.device), self.inference.context(self.device):
                answer = self._metric(sent(images, self.device).float() / 255.0)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            # NIQE's, where too few blocks are sharp for a covariance.
            if len(images) > 1:  # the others of the batch have a score
                return per_image(self._score, images)
            return images.new_full((1,), torch.nan, dtype=torch.float64, device="cpu")
        return torch.as_tensor(answer).detach().to("cpu", torch.float64).reshape(-1)


class PyiqaReference:
    """One full-reference metric of pyiqa, such as lpips or dists."""

    def __init__(self, spec: str, device: str = "cpu") -> None:
        """As `Pyiqa`, for a metric that needs a reference image."""
        configs, create_metric = _import_pyiqa()
        metric, options = parse_options(spec)
        _, usable = _entry(configs, metric, "FR")
        if metric not in usable:
            raise InputError(
                f"pyiqa metric '{metric}' takes no reference image; expected a full-reference "
                "metric such as lpips, dists or gmsd"
            )
        _check_files(metric, options)
        self.name = metric
        self.device = usable_device(device)
        self._metric = _create(create_metric, metric, options, self.device)

    @torch.no_grad()
    def __call__(self, attacked: Tensor, clean: Tensor) -> float:
        """The metric of two images (3, H, W) uint8; InputError if it fails on them."""
        pair = (image[None].to(self.device).float() / 255.0 for image in (attacked, clean))
        try:
            return float(torch.as_tensor(self._metric(*pair)))
        except Exception as error:  # what a metric raises on small images has no common type
            raise InputError(
                f"pyiqa metric '{self.name}' failed on an image of "
                f"{clean.shape[-1]}×{clean.shape[-2]}: {one_line(error)}"
            ) from error


def _entry(configs: dict[str, Any], metric: str, mode: str) -> tuple[dict[str, Any], list[str]]:
    """A metric's entry, and the names of all metrics of a mode; InputError without an entry."""
    usable = [name for name, entry in configs.items() if entry.get("metric_mode") == mode]
    if metric not in configs:
        raise unknown("pyiqa metric", metric, usable)
    return configs[metric], usable


def _absolute(option: str) -> str:
    """'option=FILE' with the path from the root; any other option as it is."""
    key, equals, value = option.partition("=")
    return f"{key}{equals}{absolute(value)}" if value and Path(value).is_file() else option


# Options that choose other weights, trained on other opinion scores.
_OTHER_WEIGHTS = {"pretrained", "train_dataset", "model_name", "model_type", "regressor_dataset"}


def _notes(metric: str, options: dict[str, Any]) -> Iterator[str]:
    """Notes on a metric with these options."""
    known, name = METRICS.get(metric), f"pyiqa metric '{metric}'"
    if known is None:
        yield f"{name} is not in iqattack's table: its range is what pyiqa lists, a rough estimate"
    elif known.note:
        yield f"{name} {known.note}"
    if not options.get("pretrained", True) and "pretrained_model_path" not in options:
        yield f"{name} has random weights (pretrained={options['pretrained']})"
    elif others := sorted(_OTHER_WEIGHTS.intersection(options)):
        yield (f"{name}: with {', '.join(others)} its range may differ; give --score-range LO,HI")


@contextlib.contextmanager
def _fixed_seeds(device: torch.device) -> Iterator[None]:
    """Fix the random seeds inside, and restore the global random state afterwards."""
    state = np.random.get_state()  # noqa: NPY002 - what pyiqa draws from
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _check_files(metric: str, options: dict[str, Any]) -> None:
    for option, value in options.items():
        if option.endswith("path") and not Path(str(value)).is_file():
            raise InputError(
                f"model 'pyiqa:{metric}': {option}: {why_no_file(str(value))}: '{value}'"
            )


def _import_pyiqa() -> tuple[dict[str, Any], Callable[..., Any]]:
    try:
        create_metric = importlib.import_module("pyiqa").create_metric
        return importlib.import_module("pyiqa.default_model_configs").DEFAULT_CONFIGS, create_metric
    except ModuleNotFoundError as error:
        raise InputError(
            f"models of pyiqa need the package '{error.name}', which is not installed:"
            " pip install 'iqattack[pyiqa]'"
        ) from error
    except Exception as error:  # above all a torchvision that was built for another torch
        raise InputError(
            f"pyiqa cannot be imported: {one_line(error)}; check that torchvision matches torch "
            f"{torch.__version__}"
        ) from error


def _create(
    create_metric: Callable[..., Any], metric: str, options: dict[str, Any], device: torch.device
) -> Any:
    try:
        # It prints what it loads to standard output, where our own results go.
        with contextlib.redirect_stdout(sys.stderr):
            return create_metric(metric, device=device, **options)
    except OSError as error:  # urllib's, requests' and the hub's errors all are
        raise InputError(
            f"pyiqa metric '{metric}' cannot get its weights ({one_line(error)}): connect once"
            f"{_or_a_file(metric, options)}"
        ) from error
    except ModuleNotFoundError as error:
        package = f"'{error.name}': pip install {error.name}"
        if error.name == "pkg_resources":  # which CLIP imports
            package = "'pkg_resources', which setuptools 82 removed: pip install 'setuptools<82'"
        raise InputError(f"pyiqa metric '{metric}' needs the package {package}") from error
    except Exception as error:
        given = ",".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise InputError(
            f"pyiqa metric '{metric}' with {given} cannot be made: {one_line(error)}"
        ) from error


def _or_a_file(metric: str, options: dict[str, Any]) -> str:
    """The rest of the remedy, for a metric that takes its weights from a file as well."""
    if "pretrained_model_path" in options:  # so that it is a backbone that is missing
        return ""
    configs, _ = _import_pyiqa()
    registry = importlib.import_module("pyiqa.utils.registry").ARCH_REGISTRY
    kind = registry.get(configs[metric]["metric_opts"]["type"])
    if "pretrained_model_path" not in inspect.signature(kind).parameters:
        return ""
    return f", or give a local file: pyiqa:{metric},pretrained_model_path=FILE"
