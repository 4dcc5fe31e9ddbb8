"""Sets of images, in order and with unique names."""

from __future__ import annotations

import copy
import fnmatch
import glob
import os
import sys
import unicodedata
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, overload

import numpy as np

from iqattack.errors import InputError
from iqattack.images.files import read_lines
from iqattack.images.formats import SUFFIXES
from iqattack.images.tensors import Pictures, write_pictures
from iqattack.imports import absolute
from iqattack.paths import FILE, FOLDER, kind_of_file
from iqattack.specs import is_text

LONGEST_NAME = 255  # bytes, of a file on every common system


@dataclass(frozen=True, init=False)
class ImageEntry:
    """One image of a set.

    name: its name in tables, logs and seeds, unique in its set: the file name, preceded by the
        folders below the one that was searched, as in `jp2k_img1.bmp`.
    path: of the file. shown: its name in messages, by default the path.
    mos: mean opinion score as published, None without one.
    """

    # Of a million entries, folders are kept once, and paths made when they are asked for.
    __slots__ = ("_file", "_folder", "_shown", "mos", "name")

    name: str
    path: Path
    mos: float | None
    shown: str = field(compare=False)

    def __init__(self, name: str, path: Path, mos: float | None = None, shown: str = "") -> None:
        text = str(path)
        folder, file = os.path.split(text)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "mos", mos)
        object.__setattr__(self, "_folder", sys.intern(folder))
        object.__setattr__(self, "_file", name if file == name else file)
        object.__setattr__(self, "_shown", "" if shown == text else shown)

    def __getattr__(self, name: str) -> Any:
        if name == "path":
            return Path(self._folder, self._file)
        if name == "shown":
            return self._shown or str(self.path)
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    def __reduce__(self) -> tuple[type[ImageEntry], tuple[object, ...]]:
        return type(self), (self.name, self.path, self.mos, self._shown)

    @property
    def file(self) -> str:
        """The path as text."""
        path: str = os.path.join(self._folder, self._file)  # noqa: PTH118 - by far faster
        return path

    @property
    def png_name(self) -> str:
        """The name of the PNG of the attacked image; also unique in its set."""
        return f"{stem(self.name)}.png"

    def anchored(self) -> ImageEntry:
        """The same image with an absolute path."""
        if os.path.isabs(self._folder) and ".." not in self._folder:  # noqa: PTH117
            return self
        return ImageEntry(self.name, absolute(self.path), self.mos, self.shown)

    def rated(self, mos: float) -> ImageEntry:
        """The same image with a MOS."""
        made = copy.copy(self)
        object.__setattr__(made, "mos", mos)
        return made

    def __copy__(self) -> ImageEntry:
        made = object.__new__(type(self))
        for name in self.__slots__:
            object.__setattr__(made, name, getattr(self, name))
        return made

    @property
    def file_name(self) -> str:
        """The last component of the path."""
        name: str = self._file
        return name


def stem(name: str) -> str:
    """`PurePath(name).stem`, which takes long for a million names."""
    dot = name.rfind(".")
    plain = 0 < dot < len(name) - 1 and not any(mark in name for mark in "/\\:")
    return name[:dot] if plain else PurePath(name).stem


@dataclass(frozen=True)
class ImageSet(Sequence[ImageEntry]):
    """An ordered set of images; methods return new sets.

    entries: the images. notes: what was left out, one phrase each.

    Raises InputError for an empty set, two images with the same name or the same result (`a.png`
    and `a.jpg` are both saved as `a.png`; case and Unicode form are ignored), and a name with
    control characters or too long for a file.

    >>> import iqattack
    >>> images = iqattack.ImageSet.from_folder("photos")
    >>> len(images), images[0].name
    (24, '01_astronaut_clean.png')
    >>> len(images[:5]), len(images.limit(3))
    (5, 3)
    """

    entries: tuple[ImageEntry, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError("no images: expected at least one")
        seen: dict[str, ImageEntry] = {}
        for entry in self.entries:
            if not is_text(entry.name):
                raise InputError(f"{entry.name!a}: expected a printable name; rename it")
            png_name = entry.png_name
            if len(png_name.encode()) > LONGEST_NAME:  # before queries are paid for it
                raise InputError(
                    f"{entry.path}: its result would be called {png_name}, longer than the "
                    f"{LONGEST_NAME} bytes that a file name may have; rename it or its folders"
                )
            # Results may be copied to file systems that ignore case and the Unicode form.
            other = seen.setdefault(folded(png_name), entry)
            if other is not entry:
                what = "have one name" if other.name == entry.name else "would share one result"
                raise InputError(
                    f"{entry.path} and {other.path} {what}, {png_name}; rename one, or give the "
                    "intended images as one pattern, such as 'folder/**/*' or 'folder/*.png'"
                )

    @overload
    def __getitem__(self, index: int) -> ImageEntry: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...
    def __getitem__(self, index: int | slice) -> ImageEntry | ImageSet:
        if isinstance(index, slice):
            some = self.entries[index]
            return self._alike(some) if some else replace(self, entries=some)
        return self.entries[index]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[ImageEntry]:
        return iter(self.entries)

    @classmethod
    def from_folder(cls, path: str | Path, *, recursive: bool = False) -> ImageSet:
        """The image files of a folder, recognised by their suffix, sorted by name.

        recursive: include subfolders, each once, even if several links lead to it. Other files are
        left out and noted. Raises InputError for a folder that does not exist or has no images.
        """
        found = _Search()
        _folder(Path(path), recursive, found)
        return found.images()

    @classmethod
    def from_spec(cls, specs: Sequence[str | Path]) -> ImageSet:
        """The images of folders, files, glob patterns and lists, in this order.

        A list is a `.txt` file with one path per line, relative to the list; blank lines and lines
        that start with # are skipped. `**` in a pattern matches all subfolders, each once; a link
        to a folder that contains the link is not followed. A file with several names because of
        symbolic links is taken once, under the name with the fewest links. Hard links are separate
        files. Raises InputError for a spec without images.

        >>> from iqattack import ImageSet
        >>> [image.name for image in ImageSet.from_spec(["photos/*_chelsea_jpeg*.png"])]
        ['11_chelsea_jpeg2.png']
        """
        found = _Search()
        for spec in specs:
            _resolve(spec, found)
        return found.images()

    @classmethod
    def from_tensor(
        cls, images: Pictures, folder: str | Path, names: Sequence[str] | None = None
    ) -> ImageSet:
        """Images in memory, written to a folder: a run names files, so that it can be verified.

        images: uint8 RGB, (N, 3, H, W), or N of (3, H, W) of any sizes; tensors or arrays. folder:
        where their PNG files go; it may hold them already. names: of the files, by default
        00000.png and so on.

        Raises InputError for another shape or type, for names that two images would share, and if
        the folder holds other pictures by these names.

        >>> import tempfile, torch, iqattack
        >>> folder = tempfile.TemporaryDirectory()
        >>> batch = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
        >>> [entry.name for entry in iqattack.ImageSet.from_tensor(batch, folder.name)]
        ['00000.png', '00001.png']
        """
        paths = write_pictures(images, Path(folder), names)
        return cls(tuple(ImageEntry(path.name, path) for path in paths))

    def with_mos(self, table: Mapping[str, float]) -> ImageSet:
        """The same images with the MOS that `table` gives for their names.

        Raises InputError if an image has none.

        >>> from iqattack import ImageSet
        >>> images = ImageSet.from_spec(["photos/01_astronaut_clean.png"])
        >>> images.with_mos({"01_astronaut_clean.png": 96.5})[0].mos
        96.5
        """
        missing = [entry.name for entry in self if entry.name not in table]
        if missing:
            raise InputError(f"{some(missing)} of {len(self)} images have no MOS; add them")
        return self._alike(tuple(entry.rated(table[entry.name]) for entry in self))

    def anchored(self) -> ImageSet:
        """The same images with absolute paths, since a model may change the working folder."""
        return self._alike(tuple(entry.anchored() for entry in self))

    def _alike(self, entries: tuple[ImageEntry, ...]) -> ImageSet:
        """A set of some of these images, whose names have been checked."""
        made = object.__new__(type(self))
        object.__setattr__(made, "entries", entries)
        object.__setattr__(made, "notes", self.notes)
        return made

    def limit(self, n: int) -> ImageSet:
        """The first `n` images, or all if there are fewer; InputError for n below 1."""
        if n < 1:
            raise InputError(f"limit {n}: expected at least 1 image")
        return self[:n]


def folded(name: str) -> str:
    """A canonical form of a name, the same for names that differ only in case or Unicode form."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def some(names: Sequence[str]) -> str:
    """The number of names, and the first three: '5 (a, b, c, …)'."""
    return f"{len(names)} ({first(names)})"


def first(names: Sequence[str]) -> str:
    """The first three names on one line: 'a, b, c, …'."""
    return ", ".join(map(_shown, names[:3])) + ", …" * (len(names) > 3)


class _Search:
    """What was found so far, and what was left out of it."""

    def __init__(self) -> None:
        self.entries: list[ImageEntry] = []
        self.notes: list[str] = []

    def add(self, entries: Iterable[ImageEntry], left: str | None = None) -> None:
        """The images of one folder, pattern, list or file, and what it held beside them."""
        self.entries.extend(entries)
        if left is not None:
            self.notes.append(left)

    def images(self) -> ImageSet:
        """All of them, without other names of the same file."""
        again = _linked_again(self.entries)
        notes = list(self.notes)
        if again:
            names = some([self.entries[k].name for k in sorted(again)])
            notes.append(f"left out links to images of the set: {names}")
        kept = tuple(entry for k, entry in enumerate(self.entries) if k not in again)
        return ImageSet(kept, tuple(notes))


class _Left:
    """What a folder or a pattern held beside images."""

    def __init__(self) -> None:
        self.hidden: set[Path] = set()
        self.others: list[str] = []
        self.special: dict[str, list[str]] = {}  # by kind
        self.folders: list[str] = []
        self.closed: list[str] = []
        self.back: list[str] = []

    def phrase(self, remedy: str = "") -> str | None:
        """All of it on one line, None where there is nothing; remedy: to take subfolders in."""
        parts = []
        if self.others:
            parts.append(_count(self.others, "file", " without an image's suffix"))
        parts += [_count(names, kind) for kind, names in sorted(self.special.items())]
        if self.hidden:
            parts.append(f"{len(self.hidden)} hidden")
        if self.folders:
            parts.append(_count(self.folders, "subfolder") + remedy)
        if self.back:
            parts.append(_count(self.back, "link", " back to a folder above"))
        if self.closed:
            parts.append(_count(self.closed, "folder", " that cannot be listed"))
        return ", ".join(parts) or None


def _count(names: Sequence[str], what: str, more: str = "") -> str:
    """For example `4 files (a.txt, b.txt, c.txt, …)`."""
    return f"{len(names)} {what}{'s' * (len(names) > 1)}{more} ({first(sorted(names))})"


def _shown(name: str) -> str:
    return name if is_text(name) else ascii(name)


def _linked_again(entries: Sequence[ImageEntry]) -> set[int]:
    """Positions of the images whose file is among the others under another name.

    Those with one name are kept: they are an error of the set.
    """
    devices, files_ = array("Q"), array("Q")
    for entry in entries:
        found = (0, 0)
        with suppress(OSError):  # it is gone since: an error of that image, when it is read
            status = os.stat(entry.file)  # noqa: PTH116 - by far faster
            found = status.st_dev, status.st_ino
        devices.append(found[0])
        files_.append(found[1])
    pairs = np.array([devices, files_], dtype=np.uint64).T
    _, number, count = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    several = (count[number] > 1) & pairs.any(axis=1)
    groups: dict[int, list[int]] = {}
    for k in np.flatnonzero(several).tolist():
        groups.setdefault(int(number[k]), []).append(k)
    again: set[int] = set()
    for group in groups.values():
        files: dict[str, list[int]] = {}  # of hard links each is one
        for k in group:
            files.setdefault(os.path.realpath(entries[k].path), []).append(k)
        for numbers in files.values():
            kept = min(numbers, key=lambda k: (_links(entries[k].path), k))
            again |= {k for k in numbers if entries[k].name != entries[kept].name}
    return again


def _links(path: Path) -> int:
    return sum(part.is_symlink() for part in (path, *path.parents))


def _named(paths: Iterable[Path], root: Path, left: _Left) -> list[ImageEntry]:
    """Image files among `paths`, named by their place below `root`, sorted by name."""
    entries = []
    for path in paths:
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            left.hidden.add(path)
            continue
        name = "/".join(parts)
        try:
            kind = kind_of_file(path)
        except OSError:
            kind = "unreachable link"
        if kind == FOLDER:
            (left.back if _leads_back(path) else left.folders).append(name)
        elif kind != FILE:
            left.special.setdefault(kind, []).append(name)
        elif path.suffix.lower() not in SUFFIXES:
            left.others.append(name)
        else:
            entries.append(ImageEntry("_".join(parts), path))
    return sorted(entries, key=lambda entry: entry.name)


def _leads_back(path: Path) -> bool:
    """Whether a path is a link to a folder that holds it."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _listed(folder: Path, left: _Left) -> list[Path]:
    """What is in a folder, in order."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        left.closed.append(folder.name)
        return []


def _below(root: Path, left: _Left) -> Iterator[Path]:
    """A folder and all below it, each once: first without links, then what links lead to.

    Hidden folders are left out, and links to a folder that holds the link, which would lead back.
    """
    seen: set[tuple[int, int]] = set()
    linked = deque([root])
    while linked:
        branch = deque([linked.popleft()])
        while branch:
            folder = branch.popleft()
            found = folder.stat()
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            yield folder
            for path in _listed(folder, left):
                if path.name.startswith(".") or not path.is_dir():
                    continue
                if not path.is_symlink():
                    branch.append(path)
                elif _leads_back(path):
                    left.back.append(path.relative_to(root).as_posix())
                else:
                    linked.append(path)


def _matches(folders: Iterable[Path], parts: Sequence[str], left: _Left) -> Iterator[Path]:
    """What the parts of a pattern match below folders, as `glob` has it; links are never walked in
    circles.
    """
    part, rest = parts[0], parts[1:]
    for folder in folders:
        if part == "**":
            below = _below(folder, left)
            if rest:
                yield from _matches(below, rest, left)
            else:
                yield from (p for inner in below for p in _files(inner, left))
            continue
        if glob.has_magic(part):
            found = _listed(folder, left)
            names = set(fnmatch.filter([p.name for p in found], part))
            found = [p for p in found if p.name in names]
            if not part.startswith("."):
                if not rest:
                    left.hidden.update(p for p in found if p.name.startswith("."))
                found = [p for p in found if not p.name.startswith(".")]
        else:
            found = [folder / part] if os.path.lexists(folder / part) else []
        if rest:
            yield from _matches([p for p in found if p.is_dir()], rest, left)
        else:
            yield from found


def _files(folder: Path, left: _Left) -> list[Path]:
    found = _listed(folder, left)
    left.hidden.update(p for p in found if p.name.startswith("."))
    return [p for p in found if not p.name.startswith(".") and not p.is_dir()]


def _folder(path: Path, recursive: bool, search: _Search) -> None:
    if not path.is_dir():
        raise InputError(f"{_shown(str(path))}: no such folder; check the path")
    left = _Left()
    try:
        paths = list(path.iterdir())
        if recursive:
            paths = [p for folder in _below(path, left) for p in _listed(folder, left)]
            paths = [p for p in paths if not p.is_dir()]
        entries = _named(paths, path, left)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be listed ({error.strerror}); expected a folder"
        ) from None
    everything = f"{path}/**/*"
    if not entries:
        found = left.phrase()
        beside = "" if found is None else f"; it has {found}"
        hint = "" if recursive else f"; to include subfolders, give '{everything}'"
        raise InputError(f"{path}: no images in this folder, expected {_expected()}{beside}{hint}")
    search.add(entries, _note(path, left.phrase(f", which '{everything}' includes")))


def _note(where: str | Path, phrase: str | None) -> str | None:
    return None if phrase is None else f"left out of {_shown(str(where))}: {phrase}"


def _resolve(spec: str | Path, search: _Search) -> None:
    try:
        _look_up(spec, search)
    except OSError as error:  # no permission on the way there, or a name that is too long
        raise InputError(
            f"{_shown(str(spec))}: cannot be accessed ({error.strerror}); check the path"
        ) from None


def _look_up(spec: str | Path, search: _Search) -> None:
    path = Path(spec)
    if os.path.lexists(path):
        kind = kind_of_file(path)
        if kind == FOLDER:
            _folder(path, False, search)
        elif kind != FILE:
            raise InputError(f"{spec}: is a {kind}, expected an image, a folder or a list")
        elif path.suffix.lower() == ".txt":
            search.add(_list(path))
        else:
            search.add([ImageEntry(path.name, path)])
        return
    if not glob.has_magic(str(spec)):
        with suppress(FileNotFoundError):
            kind_of_file(path)  # OSError with the reason where it cannot be reached
        raise InputError(f"{spec}: no such image, folder or list; check the path")
    parts = path.relative_to(path.anchor).parts
    fixed = next(k for k, part in enumerate([*parts[:-1], "*"]) if glob.has_magic(part))
    root = Path(path.anchor).joinpath(*parts[:fixed])
    left = _Left()
    wanted: list[str] = []
    for part in parts[fixed:]:
        if part != "**" or wanted[-1:] != ["**"]:  # `**/**` matches no folder more than `**`
            wanted.append(part)
    found = dict.fromkeys(_matches([root], wanted, left)) if root.is_dir() else {}
    if "**" in wanted:
        found = {p: None for p in found if not p.is_dir()}  # entered already
    entries = _named(found, root, left)
    if not entries:
        beside = left.phrase()
        beside = "" if beside is None else f"; it matches {beside}"
        raise InputError(
            f"{_shown(str(spec))}: this pattern matches no images, expected {_expected()}{beside}"
        )
    search.add(entries, _note(spec, left.phrase()))


def _list(path: Path) -> list[ImageEntry]:
    entries = []
    for number, line in enumerate(map(str.strip, read_lines(path)), start=1):
        if line and not line.startswith("#"):
            image = path.parent / line
            if os.path.isfile(image):  # noqa: PTH113 - by far faster
                entries.append(ImageEntry(image.name, image))
                continue
            try:
                kind = kind_of_file(image)
            except OSError as error:
                raise InputError(
                    f"{path}, line {number}: no such image {image} ({error.strerror}); check the "
                    "path"
                ) from None
            if kind != FILE:
                raise InputError(
                    f"{path}, line {number}: {image} is a {kind}, expected an image file"
                )
            entries.append(ImageEntry(image.name, image))
    if not entries:
        raise InputError(f"{path}: lists no images, expected one path per line")
    return entries


def _expected() -> str:
    return "files such as .png, .jpg and .tif"
