"""Tables of opinion scores, and their assignment to images."""

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
    """Opinion scores by image, as published.

    path: of the file.
    source: name of its format.
    lower_better: True for difference scores (DMOS), where lower is better.
    scores: by image; images of LIVE are named with their folder, `jp2k/img1.bmp`.
    references: undistorted originals in the folder of the test images, which are not test images.
    notes: how ambiguities of the table were resolved, one phrase each.
    columns: names in the header; empty if there is none.
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
        """Names by their composed Unicode form, and by their case-folded form."""
        return tuple(_unique(form, self.names) for form in (_composed, folded))

    @cached_property
    def _has_folders(self) -> bool:
        return any("/" in name for name in self.names)

    @property
    def names(self) -> frozenset[str]:
        """All images of the table, references included."""
        return self.references.union(self.scores)

    def __getitem__(self, name: str) -> float:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def find(self, entry: ImageEntry) -> str | None:
        """The table's name for an image; None if it has none.

        Candidates are the file name with its folder, the name in the set and the file name. They
        are matched exactly, then in another Unicode form, since file systems have their own, and
        then ignoring case, since TID2013 spells file names differently from its files.
        """
        # A name with a slash never matches one without.
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
    """The `names` without a score, regardless of case and Unicode form."""
    there = set(map(folded, scored))
    return frozenset(name for name in names if folded(name) not in there)


def _unique(form: Callable[[str], str], names: Iterable[str]) -> dict[str, str]:
    """Names by their form, without names that share a form."""
    forms = [(form(name), name) for name in names]
    count = Counter(key for key, _ in forms)
    return {key: name for key, name in forms if count[key] == 1}


def match_mos(images: ImageSet, table: MosTable, *, limit: int | None = None) -> ImageSet:
    """Assign to every image its score in the table.

    limit: use only the first `limit` images; only these need scores. Images that the table marks as
    references, and scores of images outside the set, are left out; the notes of the set report
    this.

    Raises InputError for images without a score, and for a score that matches two images.
    """
    tests = [(entry, table.find(entry)) for entry in images]
    tests = [(entry, known) for entry, known in tests if known not in table.references]
    left_out = len(images) - len(tests)
    if limit is not None:
        images.limit(limit)  # InputError for less than one
        tests = tests[:limit]
    if not tests:
        raise InputError(
            f"{table.path}: lists all {len(images)} images as references; add test images"
        )
    owner: dict[str, ImageEntry] = {}
    missing, entries = [], []
    for entry, known in tests:
        if known is None:
            missing.append(entry)
            continue
        other = owner.setdefault(known, entry)
        if other is not entry:
            raise InputError(
                f"{table.path}: {known} matches both {other.path} and {entry.path}; name them "
                f"with their folders, such as {with_folder(entry)}"
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
        notes.append(f"the table of opinion scores has {_images(more, 'further ')}")
    return ImageSet(tuple(entries), tuple(notes))


def _images(n: int, kind: str) -> str:
    return f"{n} {kind}image{'s' * (n > 1)}"


def _otherwise(missing: Iterable[ImageEntry], table: MosTable) -> str:
    """The remedy for images without a score, for a message."""
    stems = {folded(PurePath(name).stem) for name in table.scores}
    if any(folded(entry.path.stem) in stems for entry in missing):
        return "; suffixes or folders differ: correct the names in the table"
    return "; add them to the table or leave them out"


def with_folder(entry: ImageEntry) -> str:
    """The file name of an image with its folder."""
    return "/".join(entry.path.absolute().parts[-2:])
