"""Which images a run is about, in which order, under which names."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import overload

from iqattack.errors import InputError
from iqattack.images.reading import SUFFIXES
from iqattack.specs import is_text

LONGEST_NAME = 255  # bytes, of a file on every common system


@dataclass(frozen=True)
class ImageEntry:
    """One image of a set.

    name: what tables, logs and seeds know it by; unique in its set. The file name, with the
        folders below the one that was searched in front of it: `jp2k_img1.bmp`.
    path: where the file is.
    mos: mean opinion score as published, None when there is none.
    """

    name: str
    path: Path
    mos: float | None = None

    @property
    def png_name(self) -> str:
        """Name of the PNG that holds this image's result; unique in its set, too."""
        return f"{PurePath(self.name).stem}.png"


@dataclass(frozen=True)
class ImageSet(Sequence[ImageEntry]):
    """An ordered set of images; methods return new sets.

    notes: what was left out on the way, one phrase each.

    Raises InputError when it would be empty, when two images would share a name or a result
    (`a.png` and `a.jpg` are both saved as `a.png`), or when a name holds control characters or
    is too long for a file.
    """

    entries: tuple[ImageEntry, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError("no images: expected at least one")
        seen: dict[str, ImageEntry] = {}
        for entry in self.entries:
            if not is_text(entry.name):
                raise InputError(f"{entry.name!a}: expected a name of printable text; rename it")
            if len(entry.png_name.encode()) > LONGEST_NAME:  # before queries are paid for it
                raise InputError(
                    f"{entry.path}: its result would be called {entry.png_name}, longer than the "
                    f"{LONGEST_NAME} bytes that a file name may have; rename it or its folders"
                )
            # Folded, since results may be copied to file systems that ignore case.
            other = seen.setdefault(entry.png_name.casefold(), entry)
            if other is not entry:
                what = "have one name" if other.name == entry.name else "would share one result"
                raise InputError(
                    f"{entry.path} and {other.path} {what}, {entry.png_name}; rename one, or give "
                    "folders that differ as one pattern, such as 'folder/**/*'"
                )

    @overload
    def __getitem__(self, index: int) -> ImageEntry: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...
    def __getitem__(self, index: int | slice) -> ImageEntry | ImageSet:
        if isinstance(index, slice):
            return replace(self, entries=self.entries[index])
        return self.entries[index]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[ImageEntry]:
        return iter(self.entries)

    @classmethod
    def from_folder(cls, path: str | Path, *, recursive: bool = False) -> ImageSet:
        """All images of a folder, by their suffix, sorted by name; hidden files are left out."""
        return cls(tuple(_folder(Path(path), recursive)))

    @classmethod
    def from_spec(cls, specs: Sequence[str | Path]) -> ImageSet:
        """Images from folders, files, glob patterns and lists, one after the other.

        A list is a `.txt` file with one path per line, relative to the list, whose order is kept;
        lines that are blank or start with # are skipped. `**` in a pattern goes down all folders.
        """
        return cls(tuple(entry for spec in specs for entry in _resolve(spec)))

    def with_mos(self, table: Mapping[str, float]) -> ImageSet:
        """The same images with the MOS that `table` gives for their names; it must have all."""
        missing = [entry.name for entry in self if entry.name not in table]
        if missing:
            raise InputError(f"{some(missing)} of {len(self)} images without a MOS; add them")
        return replace(self, entries=tuple(replace(entry, mos=table[entry.name]) for entry in self))

    def limit(self, n: int) -> ImageSet:
        """The first `n` images, or all where there are fewer."""
        if n < 1:
            raise InputError(f"limit {n}: expected at least 1 image")
        return self[:n]


def some(names: Sequence[str]) -> str:
    """Tell how many names there are, and the first three: '5 (a, b, c, …)'."""
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _named(paths: Iterable[Path], root: Path) -> list[ImageEntry]:
    """Image files among `paths`, named by their place below `root`, sorted by name."""
    entries = []
    for path in paths:
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir():
            entries.append(ImageEntry("_".join(parts), path))
    return sorted(entries, key=lambda entry: entry.name)


def _folder(path: Path, recursive: bool) -> list[ImageEntry]:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; check the path")
    try:
        entries = _named(path.rglob("*") if recursive else path.iterdir(), path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be listed ({error.strerror}); expected a folder"
        ) from None
    if not entries:
        hint = "" if recursive else f"; for folders below it give '{path}/**/*'"
        raise InputError(f"{path}: no images in this folder, expected {_suffixes()}{hint}")
    return entries


def _resolve(spec: str | Path) -> list[ImageEntry]:
    try:
        return _look_up(spec)
    except OSError as error:  # no permission on the way there, or a name that is too long
        raise InputError(f"{spec}: cannot be reached ({error.strerror}); check it") from None


def _look_up(spec: str | Path) -> list[ImageEntry]:
    path = Path(spec)
    if path.is_dir():
        return _folder(path, recursive=False)
    if path.is_file():
        return _list(path) if path.suffix.lower() == ".txt" else [ImageEntry(path.name, path)]
    if not glob.has_magic(str(spec)):
        raise InputError(f"{spec}: no such image, folder or list; check the path")
    root = Path(path.anchor)
    for part in path.relative_to(root).parts[:-1]:
        if glob.has_magic(part):
            break
        root /= part
    entries = _named(map(Path, glob.glob(str(spec), recursive=True)), root)  # noqa: PTH207
    if not entries:
        raise InputError(f"{spec}: this pattern matches no images, expected {_suffixes()}")
    return entries


def _list(path: Path) -> list[ImageEntry]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a list of images ({error})") from None
    entries = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            image = path.parent / line
            if not image.is_file():
                raise InputError(f"{path}, line {number}: no such image {image}; check the path")
            entries.append(ImageEntry(image.name, image))
    if not entries:
        raise InputError(f"{path}: lists no images, expected one path per line")
    return entries


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
