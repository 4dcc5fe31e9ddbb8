"""Input conventions of models: `--input float01,nhwc,size=224`.

By default, a model receives a uint8 tensor (N, 3, H, W) of RGB grey levels. The terms of an input
convention, separated by commas or semicolons in any order, change that; they are applied in the
order of the fields of `Input`.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from iqattack.errors import InputError, unknown
from iqattack.models.png import stored
from iqattack.specs import text as as_text

Size = tuple[int, int]  # width, height
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # torchvision's
LEAST_STD = 1e-9
LONGEST_SIDE = 1 << 14
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

# Terms without a value, and the fields that they set.
WORDS: dict[str, dict[str, Any]] = {
    "uint8": {"values": "uint8"},
    "float255": {"values": "float255"},
    "float01": {"values": "float01"},
    "imagenet": {"values": "float01", **IMAGENET},
    "rgb": {"colour": "rgb"},
    "bgr": {"colour": "bgr"},
    "grey": {"colour": "grey"},
    "nchw": {"layout": "nchw"},
    "nhwc": {"layout": "nhwc"},
    "tensor": {"container": "tensor"},
    "numpy": {"container": "numpy"},
    "pil": {"container": "pil"},
    "path": {"container": "path"},
    "single": {"single": True},
}
SPELLINGS = {"gray": "grey", "color": "colour", "hwc": "nhwc", "chw": "nchw"}
WITH_VALUES = ("size", "crop", "resample", "mean", "std")
RESAMPLING = ("bilinear", "bicubic", "area", "nearest")
HELP = (
    "uint8 (default), float255, float01, imagenet, mean=…, std=…, rgb, bgr, grey, nchw, nhwc, "
    "tensor, numpy, pil, path, single, size=N or WxH, crop=N or WxH, "
    f"resample={'|'.join(RESAMPLING)}"
)


@dataclass(frozen=True)
class Input:
    """An input convention; None means unspecified, which selects the first choice.

    size: width and height to which images are resized, regardless of their aspect ratio. resample:
        bilinear or bicubic (both with antialiasing), area or nearest. crop: width and height of the
        centre crop.
    colour: rgb, bgr, or grey, BT.601 luma in one channel.
    values: uint8, or float32 in 0..255 (float255) or 0..1 (float01). mean, std: per channel, in the
        units of `values`, which defaults to float01 if they are given.
    layout: nchw or nhwc. container: a tensor, a NumPy array, a `PIL.Image`, or the path of a PNG
        file. single: one image per call, without a batch axis; always so for PIL and path.
    """

    size: Size | None = None
    resample: Literal["bilinear", "bicubic", "area", "nearest"] | None = None
    crop: Size | None = None
    colour: Literal["rgb", "bgr", "grey"] | None = None
    values: Literal["uint8", "float255", "float01"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    container: Literal["tensor", "numpy", "pil", "path"] | None = None
    single: bool | None = None

    @classmethod
    def parse(cls, spec: str | None) -> Self:
        """Parse an input convention; InputError if it is invalid."""
        given: dict[str, Any] = {}
        for term in _terms(spec or ""):
            for name, value in _term(spec or "", term).items():
                if given.get(name, value) != value:
                    raise InputError(f"--input {spec}: '{term}' contradicts another term")
                given[name] = value
        found = cls(**given)
        found.check(spec or "")
        return found

    def check(self, spec: str) -> None:
        """Raise InputError for terms that contradict each other."""
        channels = 1 if self.colour == "grey" else 3
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) not in (1, channels):
                raise InputError(
                    f"--input {spec}: {name} has {len(numbers)} numbers, expected 1 or {channels}"
                )
        if self.std is not None and min(map(abs, self.std)) < LEAST_STD:
            raise InputError(f"--input {spec}: std must not be 0")
        if self.normalised and self.values == "uint8":
            raise InputError(f"--input {spec}: mean and std need float01 or float255, not uint8")
        if self.container in ("pil", "path") and (self.floating or self.layout is not None):
            raise InputError(
                f"--input {spec}: a model that takes {self.container} receives 8-bit pictures; "
                "leave out values and layouts"
            )
        if self.resample is not None and self.size is None:
            raise InputError(f"--input {spec}: resample needs size=")

    @property
    def text(self) -> str | None:
        """The terms in canonical form; None if there are none."""
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            match field.name:
                case "size" | "crop":
                    same = value[0] == value[1]
                    parts.append(f"{field.name}={value[0] if same else 'x'.join(map(str, value))}")
                case "mean" | "std":
                    parts.append(f"{field.name}={','.join(map(as_text, value))}")
                case "resample":
                    parts.append(f"resample={value}")
                case "single":
                    parts.append("single")
                case _:
                    parts.append(value)
        return ",".join(parts) or None

    def over(self, other: Input) -> Input:
        """This convention, with missing terms taken from the other."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in given.items() if value is not None})

    @property
    def normalised(self) -> bool:
        """Whether values are normalised by a mean or a standard deviation."""
        return self.mean is not None or self.std is not None

    @property
    def floating(self) -> bool:
        """Whether values are float32."""
        return self.values in ("float255", "float01") or self.normalised

    @property
    def one_by_one(self) -> bool:
        """Whether a call takes one image."""
        return bool(self.single) or self.container in ("pil", "path")

    def of_pictures(self, kind: str) -> Input:
        """This convention, for a model that receives 8-bit images in files; InputError for terms
        other than size, resample, crop and colour.

        kind: of the model, for the message.
        """
        odd = [
            name
            for name in ("values", "mean", "std", "layout", "container", "single")
            if getattr(self, name) not in (None, "uint8", "rgb")
        ]
        if odd:
            raise InputError(
                f"--input {self.text}: {kind} receives 8-bit pictures; expected only size, "
                f"resample, crop, rgb, bgr or grey, not {odd[0]}"
            )
        return self

    # -- conversion -------------------------------------------------------------------------------

    def pictures(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 after resizing, crop and colour: (N, C, h, w) uint8."""
        if self.size is None and self.crop is None and self.colour in (None, "rgb"):
            return images
        return self._shaped(images.float()).round().to(torch.uint8)

    def tensor(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or float grey levels, as a tensor; differentiable if float.

        Always a copy, which the model may modify.
        """
        if self.floating or images.is_floating_point():
            found = self._scaled(self._shaped(images.float()))
        else:
            found = self.pictures(images)
        if self.layout == "nhwc":
            found = found.permute(0, 2, 3, 1).contiguous()
        return found.clone() if found.data_ptr() == images.data_ptr() else found

    def convert(self, images: Tensor) -> list[Any]:
        """The inputs of the model's calls for images (N, 3, H, W) uint8."""
        if self.container == "pil":
            return [as_pil(image) for image in self.pictures(images)]
        batch: Any = self.tensor(images)
        if self.container == "numpy":
            batch = batch.numpy()
        return list(batch) if self.single else [batch]

    def asks(self, function: Callable[[Any], object]) -> Callable[[Tensor], object]:
        """Wrap a function to take images (N, 3, H, W) uint8 and convert them."""
        if self.container == "path":
            return lambda images: one_by_one(function, self._files(images))
        if self.one_by_one:
            return lambda images: one_by_one(function, self.convert(images))
        return lambda images: function(self.convert(images)[0])

    def differentiable(self, function: Callable[[Any], object]) -> Callable[[Tensor], Tensor]:
        """Wrap a function to score float images, with the autograd graph if it has one."""

        def score(images: Tensor) -> Tensor:
            if self.container not in (None, "tensor"):
                raise InputError(
                    f"gradients: a model that takes {self.container} has none; expected tensors"
                )
            batch = self.tensor(images)
            if not self.single:
                return torch.as_tensor(function(batch)).reshape(len(images))
            return torch.cat([torch.as_tensor(function(one)).reshape(1) for one in batch])

        return score

    def _files(self, images: Tensor) -> Iterable[str]:
        """The path of each image in turn; the file exists until the next one is requested."""
        with tempfile.TemporaryDirectory(prefix="iqattack-") as folder:
            path = Path(folder) / "image.png"
            for image in self.pictures(images):
                path.write_bytes(stored(image))
                yield str(path)

    def _shaped(self, images: Tensor) -> Tensor:
        if self.size is not None:
            width, height = self.size
            images = resized(images, (height, width), self.resample or "bilinear")
        if self.crop is not None:
            images = _middle(images, self.crop)
        if self.colour == "bgr":
            images = images.flip(1)
        if self.colour == "grey":
            images = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        return images

    def _scaled(self, images: Tensor) -> Tensor:
        if self.values == "float01" or (self.normalised and self.values is None):
            images = images / 255.0
        if self.mean is not None:
            images = images - images.new_tensor(self.mean)[:, None, None]
        if self.std is not None:
            images = images / images.new_tensor(self.std)[:, None, None]
        return images


UINT8 = Input()


def resized(images: Tensor, size: tuple[int, int], resample: str) -> Tensor:
    """Resize images (N, C, H, W) float to (height, width); grey levels stay within 0..255."""
    if tuple(images.shape[-2:]) == size:
        return images
    smooth = resample in ("bilinear", "bicubic")
    found = interpolate(
        images,
        size,
        mode="nearest-exact" if resample == "nearest" else resample,
        antialias=smooth,
        align_corners=False if smooth else None,
    )
    return found.clamp(0.0, 255.0)


def one_by_one(function: Callable[[Any], object], inputs: Iterable[Any]) -> list[object]:
    """Apply a function of one image to each; exceptions are returned in place of results."""
    found: list[object] = []
    for one in inputs:
        try:
            answer: Any = function(one)
            alone = isinstance(answer, Tensor | np.ndarray) and math.prod(answer.shape) == 1
            later = alone and isinstance(answer, Tensor) and answer.device.type != "cpu"
            found.append(answer.item() if alone and not later else answer)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            found.append(error)
    return _fetched(found)


def _fetched(answers: list[object]) -> list[object]:
    """Move single numbers from a device to Python numbers in one transfer."""
    there = {k: a for k, a in enumerate(answers) if isinstance(a, Tensor) and a.numel() == 1}
    if there:
        numbers = torch.stack([a.detach().reshape(()) for a in there.values()]).tolist()
        for k, number in zip(there, numbers, strict=True):
            answers[k] = number
    return answers


def as_pil(image: Tensor) -> Image.Image:
    """An image (3, H, W) or (1, H, W) uint8 as a `PIL.Image`."""
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)


def _middle(images: Tensor, size: Size) -> Tensor:
    width, height = size
    rows, columns = images.shape[-2:]
    if rows < height or columns < width:
        raise InputError(
            f"--input crop={width}x{height}: an image of {columns}×{rows} pixels is smaller; add "
            "size"
        )
    top, left = (rows - height) // 2, (columns - width) // 2
    return images[..., top : top + height, left : left + width]


def _terms(spec: str) -> list[str]:
    """Split at semicolons, spaces, and commas that do not stand between numbers."""
    parts = re.split(r"[;\s]+|,(?=[A-Za-z])", re.sub(r"\s*([,;=])\s*", r"\1", spec))
    return [part.strip() for part in parts if part.strip()]


def _term(spec: str, term: str) -> dict[str, Any]:
    name, equals, value = term.partition("=")
    name = SPELLINGS.get(name.strip().lower(), name.strip().lower())
    if not equals and name in WORDS:
        return WORDS[name]
    if name not in WITH_VALUES or not equals:
        near = unknown("term of --input", name, [*WORDS, *(f"{one}=" for one in WITH_VALUES)])
        raise InputError(f"--input {spec}: {near}")
    if name in ("size", "crop"):
        match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", value.strip())
        sides = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not all(0 < side <= LONGEST_SIDE for side in sides):
            raise InputError(
                f"--input {spec}: {term}: expected {name}=224 or {name}=384x256, at most "
                f"{LONGEST_SIDE} pixels"
            )
        return {name: sides}
    if name == "resample":
        if value not in RESAMPLING:
            raise InputError(f"--input {spec}: {term}: expected {', '.join(RESAMPLING)}")
        return {name: value}
    try:
        numbers = tuple(float(number) for number in value.split(","))
        if not all(map(math.isfinite, numbers)):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--input {spec}: {term}: expected numbers, such as {name}=0.5 or {name}=0.5,0.4,0.5"
        ) from None
    return {name: numbers}
