"""The no-reference metrics of pyiqa (Chen & Mo, IQA-PyTorch) as black boxes: `pyiqa:NAME`."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iqattack.errors import InputError, unknown
from iqattack.models.checked import one_line, per_image
from iqattack.models.device import usable_device

# Listed as no-reference by pyiqa, but not functions of one image.
NOT_OF_ONE_IMAGE = {
    "FID": "it compares two sets of images",
    "InceptionScore": "it scores a set of images",
    "CLIPScore": "it needs a caption",
}
# NIQE and ILNIQE average over whole blocks and fail without one.
MIN_SIZE = {"NIQE": 96, "ILNIQE": 84}

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
    """One no-reference metric of pyiqa, with the range and direction that pyiqa lists.

    The ranges are pyiqa's and rough. Images are scored one by one on the CPU, so that a score does
    not depend on its batch, and in one batch elsewhere.
    """

    def __init__(self, spec: str, device: str = "cpu") -> None:
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
        _check_files(metric, options)
        self.name = f"pyiqa:{metric}"
        self.score_range = parse_range(config.get("score_range"))
        self.lower_better = bool(config.get("lower_better", False))
        self.min_size = MIN_SIZE.get(kind, 1)
        self.device = usable_device(device)
        self._metric = _create(create_metric, metric, options, self.device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8; NaN where the metric has none."""
        return per_image(self._score, images) if self.device.type == "cpu" else self._score(images)

    def differentiable(self, images: Tensor) -> Tensor:
        """Raw scores (N,) of float images, with their graph, where the metric has one."""
        # Around the wrapper, which turns gradients off.
        answer = self._metric.net(images.to(self.device) / 255.0)
        return torch.as_tensor(answer).reshape(-1)

    def _score(self, images: Tensor) -> Tensor:
        try:
            answer = self._metric(images.to(self.device).float() / 255.0)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            # NIQE's, where too few blocks are sharp for a covariance.
            if len(images) > 1:  # the others of the batch have a score
                return per_image(self._score, images)
            return images.new_full((1,), torch.nan, dtype=torch.float64, device="cpu")
        return torch.as_tensor(answer).to("cpu", torch.float64).reshape(-1)


class PyiqaReference:
    """One full-reference metric of pyiqa, such as lpips or dists: how unlike two images look."""

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
        """The value of two images (3, H, W) uint8; InputError where the metric fails on them."""
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


def _check_files(metric: str, options: dict[str, Any]) -> None:
    for option, value in options.items():
        if option.endswith("path") and not Path(str(value)).is_file():
            raise InputError(f"model 'pyiqa:{metric}': {option}: no such file: '{value}'")


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
            f"pyiqa does not import: {one_line(error)};"
            f" check that torchvision fits torch {torch.__version__}"
        ) from error


def _create(
    create_metric: Callable[..., Any], metric: str, options: dict[str, Any], device: torch.device
) -> Any:
    try:
        # It tells on standard output what it loads, where our own results go.
        with contextlib.redirect_stdout(sys.stderr):
            return create_metric(metric, device=device, **options)
    except OSError as error:  # urllib's, requests' and the hub's errors all are
        raise InputError(
            f"pyiqa metric '{metric}' cannot get its weights ({one_line(error)}): connect once, or"
            f" give a local file: pyiqa:{metric},pretrained_model_path=FILE"
        ) from error
    except Exception as error:
        given = ",".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise InputError(
            f"pyiqa metric '{metric}' with {given} cannot be made: {one_line(error)}"
        ) from error
