"""ONNX graphs, run by ONNX Runtime: `onnx:FILE[,option=value...]`.

The graph determines its input, and the input convention the rest; options say how an output becomes
a score.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from iqattack.errors import DeviceError, InputError, one_line, unknown
from iqattack.imports import absolute
from iqattack.models.inputs import Input, one_by_one
from iqattack.paths import why_no_file

DTYPES: dict[str, type[np.generic]] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OPTIONS = ("output=NAME", "softmax", "index=K", "expectation=A..B", "mean", "batch=N")
CHANNELS = (1, 3)
TRIAL = 224  # side in pixels of the picture for a trial, before it is resized
NEEDED = "--lower-better or --no-lower-better"
SUM = 0.02  # how far a sum of probabilities may be from 1: rounded to 8 bits, 10 classes are

# Names the file of a tensor that lies outside the graph's: a StringStringEntryProto of onnx.proto,
# whose value follows its length, 7 bits a byte. Read this way, `onnx` need not be installed.
EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])")

Floats = NDArray[np.float64]


class MissingError(InputError):
    """Something that the graph does not define must be given."""


class OnnxModel:
    """A graph as a black box.

    On the CPU images are scored one by one, so that a score does not depend on its batch, unless
    the graph has a batch of fixed size or `batch=` is given.
    """

    def __init__(
        self, argument: str, *, device: str = "cpu", convention: Input | None = None
    ) -> None:
        """argument: 'FILE[,option=value...]', as in `Reading`; convention: what `--input` says.

        Raises InputError without ONNX Runtime, for a file that is not a graph with one image input,
        for options and a convention that do not fit it, and for a device that does not exist.
        """
        path, options = split_file(argument)
        self._label = f"model 'onnx:{argument}'"
        self._reading = Reading.parse(options, self._label)
        self._logits_seen = False
        self._along_first = False  # images are along the first axis of the output, as was seen
        self._session = _session(path, device, self._label)
        missing: list[str] = []
        with self._collecting(missing):
            self._output = _output(self._session, self._reading.output, self._label)
        shown = [o for o in options if not o.startswith("batch=")]
        self.name = ",".join([f"onnx:{path.stem}", *shown])
        self.spec = ",".join([f"onnx:{absolute(path)}", *options])
        self.files = (absolute(path), *external_files(path))
        self.score_range = self._reading.score_range
        self.lower_better = False if self._reading.expectation else None

        found = _Picture.of(self._session, convention or Input(), self._label)
        self._input, self._convention, self._dtype = found.name, found.convention, found.dtype
        self._last = found.convention.layout == "nhwc"
        wanted = self._reading.batch
        if found.batch is not None and wanted not in (None, found.batch):
            raise InputError(
                f"{self._label}: batch={wanted}: the graph takes {found.batch} at once; leave out "
                "the option"
            )
        self._fixed = found.batch is not None
        # Images in a call of the graph; None for all that there are.
        self._size = found.batch or wanted or (1 if device.startswith("cpu") else None)
        self.batch = None if self._size == 1 else self._size
        crop = found.convention.crop
        self.min_size = 1 if found.convention.size or not crop else min(crop)
        self.notes = found.notes
        several = bool(missing)
        if found.missing:
            missing.append(found.missing)
        if not several:
            with self._collecting(missing):
                self._try(max((TRIAL, *(crop or ()))))
        if missing:
            raise InputError(f"{self._label}: {'; '.join(missing)}{self._reading.undeclared}")

    def __call__(self, images: Tensor) -> list[Any]:
        """Raw scores of images (N, 3, H, W) uint8; if they are scored one by one, exceptions take
        the place of failed scores.
        """
        if self._size == 1:
            return one_by_one(lambda image: self._score(image[None])[0], images)
        parts = torch.split(images, self._size or max(len(images), 1))
        return [score for part in parts if len(part) for score in self._score(part)]

    @contextlib.contextmanager
    def _collecting(self, missing: list[str]) -> Iterator[None]:
        """Collect what is missing, so that the user sees all of it at once."""
        try:
            yield
        except MissingError as error:
            missing.append(str(error).removeprefix(f"{self._label}: "))

    def _try(self, side: int) -> None:
        """Score a grey picture, to find options that do not fit before a run.

        Errors of ONNX Runtime are not final, since the picture may have the wrong size.
        """
        grey = torch.full((1, 3, side, side), 128, dtype=torch.uint8)
        try:
            self._score(grey)
        except InputError:
            raise
        except Exception:
            return

    def _score(self, images: Tensor) -> list[float]:
        """Scores of images that go into one call."""
        n = len(images)
        if self._fixed and self._size:
            images = torch.cat([images, images[-1:].expand(self._size - n, -1, -1, -1)])
        batch = self._convention.tensor(images).numpy().astype(self._dtype, copy=False)
        fed = batch[0] if self._convention.single else batch
        try:
            answer = np.asarray(self._session.run([self._output], {self._input: fed})[0])
        except Exception as error:
            if re.search("allocate memory|bad_alloc|out of memory", str(error)):
                raise MemoryError(one_line(error)) from error  # a smaller batch may succeed
            raise
        if answer.ndim == 0 or len(answer) != len(images):
            if len(images) > 1:
                raise InputError(
                    f"{self._label}: output '{self._output}' has shape {answer.shape} for "
                    f"{len(images)} images; expected them along the first axis; give batch=1"
                )
            answer = answer[None]  # a graph of one image, without a batch axis
        elif not self._fixed and n > 1 and not self._along_first:
            if n in answer.shape[1:]:  # images may be along another axis
                return [*self._score(images[:-1]), *self._score(images[-1:])]
            self._along_first = True
        values = answer[:n].astype(np.float64)
        where = f"{self._label}: output '{self._output}'"
        if not self._logits_seen:  # on the first images only: logits may sum to 1 by chance
            self._reading.check_logits(values, where, last=self._last)
            self._logits_seen = True
        with np.errstate(all="ignore"):  # whether scores are finite is checked for all models
            found: list[float] = self._reading.scores(values, where, last=self._last).tolist()
        return found


def load_onnx(
    argument: str,
    *,
    device: str = "cpu",
    convention: Input,
    timeout: float | None = None,  # noqa: ARG001 - `load_model` keeps it
) -> OnnxModel:
    """The graph of 'FILE[,option=value...]' as a black box; errors as in `OnnxModel`."""
    return OnnxModel(argument, device=device, convention=convention)


@dataclass(frozen=True)
class Reading:
    """How an output becomes a score for each image.

    output: its name; None for the only one. softmax: over the classes, before all else. index: the
    class that is the score; from the end if negative. expectation: (A, B), the score is the mean of
    the whole numbers A..B under the probabilities of as many classes. mean: over all other axes.
    batch: images in one call of a graph that takes any number.
    """

    output: str | None = None
    softmax: bool = False
    index: int | None = None
    expectation: tuple[int, int] | None = None
    mean: bool = False
    batch: int | None = None

    @classmethod
    def parse(cls, options: list[str], where: str) -> Self:
        """Parse 'option=value' texts. where: beginning of the InputError for an invalid one."""
        given: dict[str, Any] = {}
        for option in options:
            name, value = _option(option, where)
            if name in given:
                raise InputError(f"{where}: option '{name}' is given twice")
            given[name] = value
        found = cls(**given)
        if found.index is not None and found.expectation is not None:
            raise InputError(f"{where}: give index or expectation, not both")
        if found.softmax and found.index is None and found.expectation is None:
            raise InputError(f"{where}: softmax: add index=K or expectation=A..B")
        return found

    @property
    def score_range(self) -> tuple[float, float] | None:
        """(lowest, highest) score, if the options determine it."""
        if self.expectation:
            return float(self.expectation[0]), float(self.expectation[1])
        return (0.0, 1.0) if self.softmax else None

    @property
    def undeclared(self) -> str:
        """What else must be given, for a message."""
        if self.expectation:
            return ""
        if self.softmax:
            return f"; {NEEDED} is needed, too"
        return f"; without expectation=A..B, --score-range LO,HI and {NEEDED} are needed, too"

    def check_logits(self, values: Floats, where: str, *, last: bool) -> None:
        """Raise InputError, beginning with `where`, for probabilities that would get a softmax."""
        values, axis = _classes_of(values, last=last)
        if not self.softmax or values.shape[axis] < 2:
            return
        if (values >= 0).all() and (np.abs(values.sum(axis) - 1) <= SUM).all():
            raise InputError(
                f"{where} already has probabilities, which are at least 0 and sum to 1; leave out "
                "softmax"
            )

    def scores(self, values: Floats, where: str, *, last: bool) -> Floats:
        """Scores (N,) of an output (N, ...).

        Classes are along its last axis; in maps (N, K, h, w), unless last, along its second.

        Raises InputError, which begins with where, for an output that the options do not fit.
        """
        n, shape = len(values), values.shape
        values, axis = _classes_of(values, last=last)
        classes = values.shape[axis]
        if self.softmax:
            values = softmax(values, axis)
        if self.index is not None:
            if not -classes <= self.index < classes:
                raise InputError(
                    f"{where}: index={self.index}: expected 0 to {classes - 1}, or -{classes} to "
                    "-1 from the end"
                )
            values = np.take(values, [self.index], axis)
        elif self.expectation:
            values = self._expected(values, axis, where)
        flat = values.reshape(n, -1)
        if flat.shape[1] != 1 and not self.mean:
            chosen = self.index is not None or self.expectation
            wanted = (
                "mean" if chosen else "index=K, expectation=A..B, mean, or softmax with index=K"
            )
            raise MissingError(
                f"{where} has shape {shape}, {flat.shape[1]} numbers for each image; expected one: "
                f"give {wanted}"
            )
        found: Floats = flat.mean(1)
        return found

    def _expected(self, values: Floats, axis: int, where: str) -> Floats:
        low, high = self.expectation or (0, 0)
        classes = values.shape[axis]
        if classes != high - low + 1:
            raise InputError(
                f"{where} has {classes} classes; expectation={low}..{high} needs {high - low + 1}"
            )
        total = values.sum(axis)
        if np.abs(total - 1).max() > SUM:  # false where NaN
            raise MissingError(
                f"{where} sums to {total.flat[0]:.4g}, so these are not probabilities; add softmax"
            )
        found: Floats = np.moveaxis(values, axis, -1) @ np.arange(low, high + 1.0)
        return found


def _classes_of(values: Floats, *, last: bool) -> tuple[Floats, int]:
    """An output (N, ...) without axes of length 1 if one other is left, and its axis of classes."""
    if sum(side != 1 for side in values.shape[1:]) <= 1:
        values = values.reshape(len(values), -1)  # (N,), (N, K), (N, K, 1, 1), ...
    return values, 1 if values.ndim == 4 and not last else -1


def _option(option: str, where: str) -> tuple[str, Any]:
    """Name and value of one option."""
    name, equals, value = option.partition("=")
    expected = {form.partition("=")[0]: form for form in OPTIONS}
    if name in ("layout", "size"):
        raise InputError(f"{where}: option '{option}': give it with --input, as nhwc or size=224")
    if name not in expected:
        raise InputError(f"{where}: {unknown('option', name, OPTIONS)}")
    if name in ("softmax", "mean") and not equals:
        return name, True
    if name == "output" and value:
        return name, value
    if name == "index" and re.fullmatch(r"-?\d+", value):
        return name, int(value)
    if name == "batch" and re.fullmatch(r"\d+", value) and int(value):
        return name, int(value)
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", value)
    if name == "expectation" and ends and int(ends[1]) < int(ends[2]):
        return name, (int(ends[1]), int(ends[2]))
    raise InputError(f"{where}: option '{option}': expected {expected[name]}")


@dataclass(frozen=True)
class _Picture:
    """The input of a graph: its name, form and notes.

    batch: images per call; None for any number. missing: what `--input` must add.
    """

    name: str
    dtype: type[np.generic]
    convention: Input
    batch: int | None
    notes: tuple[str, ...]
    missing: str

    @classmethod
    def of(cls, session: Any, given: Input, label: str) -> Self:
        """From the graph and what `--input` says; InputError where they contradict each other."""
        inputs = session.get_inputs()  # without those that have a value of their own
        shapes = "; ".join(f"'{one.name}' {_shown(one.shape)} {one.type}" for one in inputs)
        where = f"{label}: the graph's input is {shapes}"
        if len(inputs) != 1 or inputs[0].type not in DTYPES or len(inputs[0].shape) not in (3, 4):
            raise InputError(
                f"{label}: the graph's inputs are {shapes or 'none'}; expected one picture "
                "(N, C, H, W) or (N, H, W, C), uint8, float, float16 or double"
            )
        shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
        if given.container or given.single:
            term = given.container or "single"
            raise InputError(f"{where}; --input {term}: the graph decides that; leave {term} out")
        single = len(shape) == 3
        dtype = DTYPES[inputs[0].type]
        layout = _layout(shape[-3:], given.layout, where)
        first = layout == "nchw"
        channels, height, width = shape[-3:] if first else (shape[-1], *shape[-3:-1])
        found = given.over(Input(layout="nchw" if first else "nhwc", single=single))
        found = replace(found, colour=_colour(channels, given, layout, where))
        missing = _missing_values(dtype, given, where).removeprefix(f"{label}: ")
        notes: tuple[str, ...] = ()
        if found.size is None and found.crop is None and (height or width):
            if height is None or width is None:
                raise InputError(f"{where}; one side is dynamic: give --input size=WxH")
            found = replace(found, size=(width, height))
            taken = f"{width}×{height} pixels (bilinear), the size that the graph takes"
            notes = (f"images are resized to {taken}",)
        _check_size(found, (width, height), where)
        found.check(found.text or "")
        return cls(inputs[0].name, dtype, found, 1 if single else shape[0], notes, missing)


def _layout(sides: list[int | None], given: str | None, where: str) -> str:
    """Where the channels stand in the last three axes of the input."""
    first, last = sides[0] in CHANNELS, sides[-1] in CHANNELS
    if first != last and given not in (None, "nchw" if first else "nhwc"):
        found = "nchw" if first else "nhwc"
        raise InputError(f"{where}, which is {found}; --input {given}: leave {given} out")
    if given is not None:
        return given
    if first == last:
        raise InputError(f"{where}; it does not say where channels are: give --input nchw or nhwc")
    return "nchw" if first else "nhwc"


def _colour(channels: int | None, given: Input, layout: str, where: str) -> Any:
    if channels not in (None, *CHANNELS):
        raise InputError(
            f"{where}; {layout} would have {channels} channels, expected 3, or 1 for grey"
        )
    colour = given.colour or ("grey" if channels == 1 else "rgb")
    if channels is not None and (colour == "grey") != (channels == 1):
        raise InputError(f"{where}; --input {colour}: it has {channels} channels")
    return colour


def _missing_values(dtype: type[np.generic], given: Input, where: str) -> str:
    """The message if values are missing, else empty."""
    if dtype is np.uint8:
        if given.floating:
            raise InputError(f"{where}; --input {given.text}: it takes uint8; leave out values")
    elif given.values is None and not given.normalised:
        return (
            f"{where}; it does not say which values it expects: give --input float01 (0 to 1), "
            "float255 (0 to 255), imagenet, or mean=… and std=…"
        )
    return ""


def _check_size(found: Input, wanted: tuple[int | None, int | None], where: str) -> None:
    made = found.crop or found.size
    if made and any(side not in (None, own) for side, own in zip(wanted, made, strict=True)):
        raise InputError(
            f"{where}; --input makes images of {made[0]}×{made[1]} pixels, the graph takes "
            f"{'×'.join(str(side or 'any') for side in wanted)}: give size= or crop="
        )


def _shown(shape: list[object]) -> str:
    """A shape with the names of its dynamic axes: (N, 3, 224, 224)."""
    return f"({', '.join(str(side or '?') for side in shape)})"


def split_file(argument: str) -> tuple[Path, list[str]]:
    """'FILE,option,...' as the file and its options; a file's name may hold commas.

    The longest beginning that is a file is it; InputError where there is none.
    """
    parts = argument.split(",")
    beginnings = [Path(",".join(parts[:end])) for end in range(len(parts), 0, -1)]
    for left, path in enumerate(beginnings):
        if _is_file(path):
            return path, _joined(parts[len(parts) - left :])
    other = next((path for path in beginnings if os.path.lexists(path)), None)
    if other is None or not parts[0]:
        why, shown = "no such file", parts[0]
    else:
        why, shown = why_no_file(other), str(other)
    raise InputError(
        f"model 'onnx:{argument}': {why}: '{shown}'; expected onnx:FILE[,option=value]"
    )


def _joined(options: list[str]) -> list[str]:
    """Options of which the name of an output may hold commas."""
    names = {form.partition("=")[0] for form in (*OPTIONS, "layout", "size")}
    found: list[str] = []
    for option in options:
        if found and found[-1].startswith("output=") and option.partition("=")[0] not in names:
            found[-1] += f",{option}"
        else:
            found.append(option)
    return found


def external_files(path: Path) -> tuple[Path, ...]:
    """The absolute paths of files with a graph's external tensors."""
    folder = absolute(path).parent
    found = {folder / name for name in _locations(path)}
    return tuple(sorted(file for file in found if _is_file(file)))


def _is_file(path: Path) -> bool:
    """Whether it is a file; a name that is too long for the file system is not."""
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def _locations(path: Path) -> Iterator[str]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in EXTERNAL.finditer(data):
            length = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(match[1]))
            with contextlib.suppress(UnicodeDecodeError):
                yield data[match.end() : match.end() + length].decode()


def _session(path: Path, device: str, label: str) -> Any:
    try:
        ort = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{label} needs the package '{error.name}', which is not installed:"
            " pip install 'iqattack[onnx]'"
        ) from error
    kind, _, number = device.partition(":")
    there = ort.get_available_providers()
    provider = PROVIDERS.get(kind)
    if provider not in there or not (number or "0").isdecimal():
        raise DeviceError(
            f"{label}: device '{device}' cannot be used: expected cpu, cuda or cuda:N; this ONNX "
            f"Runtime has {', '.join(there)}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # workers divide them
    # Attacks compute beside the model: threads that wait must not keep the cores busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors are raised, too
    own = {"device_id": number or "0"} if kind == "cuda" else {}
    try:
        session = ort.InferenceSession(
            str(path), options, providers=[(provider, own)], enable_fallback=0
        )
    except Exception as error:
        raise InputError(
            f"{label}: not a graph that ONNX Runtime {ort.__version__} can run: {one_line(error)}"
        ) from error
    if session.get_providers()[0] != provider:  # if libraries are missing, it continues without
        raise DeviceError(
            f"{label}: device '{device}' cannot be used: {provider} does not start; check that "
            "CUDA and cuDNN match this onnxruntime-gpu"
        )
    return session


def _output(session: Any, wanted: str | None, label: str) -> str:
    """The name of the output to read."""
    outputs = {one.name: one for one in session.get_outputs()}
    if wanted is None and len(outputs) > 1:
        shapes = ", ".join(f"{name} {_shown(one.shape)}" for name, one in outputs.items())
        raise MissingError(f"{label}: the graph has several outputs: {shapes}; give output=NAME")
    name = next(iter(outputs)) if wanted is None else wanted
    if name not in outputs:
        raise InputError(f"{label}: {unknown('output', name, outputs)}")
    kind: str = outputs[name].type
    if not re.fullmatch(r"tensor\((float\d*|double|u?int\d+|bool)\)", kind):
        raise InputError(f"{label}: output '{name}' is {kind}; expected a tensor of numbers")
    return str(name)
