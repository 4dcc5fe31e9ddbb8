"""Scores by image, and the images that they belong to."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from iqattack.errors import InputError
from iqattack.images.sets import ImageEntry, ImageSet, first, folded, some


@dataclass(frozen=True)
class MosTable(Mapping[str, float]):
    """Scores by image, as published.

    path: the file.
    source: name of its format.
    lower_better: True for difference scores (DMOS), where low means good quality.
    scores: score of each image; LIVE's are named with their folder, `jp2k/img1.bmp`.
    references: images that are no test images, though they lie among them: undistorted originals.
    notes: how the table was read, where it could be read otherwise; one phrase each.
    columns: what its header calls them; empty without one.
    """

    path: Path
    source: str
    lower_better: bool
    scores: Mapping[str, float]
    references: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @cached_property
    def _alike(self) -> tuple[Mapping[str, str], ...]:
        """Names by their composed form, and by their folded one."""
        return tuple(_unique(form, self.names) for form in (_composed, folded))

    @cached_property
    def _has_folders(self) -> bool:
        return any("/" in name for name in self.names)

    @property
    def names(self) -> frozenset[str]:
        """Every image that the table knows, references too."""
        return self.references.union(self.scores)

    def __getitem__(self, name: str) -> float:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def find(self, entry: ImageEntry) -> str | None:
        """The table's name for an image, None when it has none.

        Looked for by its folder and file name, its name in the set and its file name: exactly, in
        another Unicode form, of which file systems have their own, and then, since TID2013 names
        files in another case than it has them, ignoring case.
        """
        # In no form does a name with a slash fit one without.
        names = [with_folder(entry)] if self._has_folders else []
        for name in (*names, entry.name, entry.file_name):
            if name in self.scores or name in self.references:
                return name
            composed, case = self._alike
            for known in (composed.get(_composed(name)), case.get(folded(name))):
                if known is not None:
                    return known
        return None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def unscored(names: Iterable[str], scored: Iterable[str]) -> frozenset[str]:
    """Those of `names` that have no score, in another case or Unicode form neither."""
    there = set(map(folded, scored))
    return frozenset(name for name in names if folded(name) not in there)


def _unique(form: Callable[[str], str], names: Iterable[str]) -> dict[str, str]:
    """Names by their form, of those that share it with no other."""
    forms = [(form(name), name) for name in names]
    count = Counter(key for key, _ in forms)
    return {key: name for key, name in forms if count[key] == 1}


def match_mos(images: ImageSet, table: MosTable, *, limit: int | None = None) -> ImageSet:
    """Give every image its score of the table.

    Images that the table marks as references are left out. limit: use only the first `limit`
    others, the only ones that need scores. Scores of images outside the set are also left out. The
    set's notes report all of this.

    Raises InputError naming the images without a score beside what the table has, or two images
    that one score would serve.
    """
    tests = [(entry, table.find(entry)) for entry in images]
    tests = [(entry, known) for entry, known in tests if known not in table.references]
    left_out = len(images) - len(tests)
    if limit is not None:
        images.limit(limit)  # InputError for less than one
        tests = tests[:limit]
    if not tests:
        raise InputError(f"{table.path}: has all {len(images)} images as references; give others")
    owner: dict[str, ImageEntry] = {}
    missing, entries = [], []
    for entry, known in tests:
        if known is None:
            missing.append(entry)
            continue
        other = owner.setdefault(known, entry)
        if other is not entry:
            raise InputError(
                f"{table.path}: {known} fits both {other.path} and {entry.path}; name them with "
                f"their folders, such as {with_folder(entry)}"
            )
        entries.append(entry.rated(table[known]))
    if missing:
        columns = f" beside columns {first(table.columns)}" if table.columns else ""
        raise InputError(
            f"{table.path}: no score for {some([entry.name for entry in missing])} of {len(tests)} "
            f"images; it has {some(list(table.scores))}{columns}{_otherwise(missing, table)}"
        )
    notes = [*images.notes, *table.notes]
    if left_out:
        notes.append(f"{_images(left_out, 'reference ')} left out")
    more = len(set(table.scores).difference(owner))
    if more:
        notes.append(f"the table of opinion scores has {more} more")
    return ImageSet(tuple(entries), tuple(notes))


def _images(n: int, kind: str) -> str:
    return f"{n} {kind}image{'s' * (n > 1)}"


def _otherwise(missing: Iterable[ImageEntry], table: MosTable) -> str:
    """What to do about images without a score."""
    stems = {folded(PurePath(name).stem) for name in table.scores}
    if any(folded(entry.path.stem) in stems for entry in missing):
        return "; suffixes or folders differ: correct the names in the table"
    return "; add them to the table or leave them out"


def with_folder(entry: ImageEntry) -> str:
    """An image's name with the folder that it lies in."""
    return "/".join(entry.path.absolute().parts[-2:])
