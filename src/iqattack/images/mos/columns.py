"""Which columns of a table hold the images and their scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from iqattack.errors import InputError
from iqattack.images.formats import SUFFIXES
from iqattack.images.sets import first

OWN = "iqattack CSV"
OPTION = "--mos-columns image=NAME,mos=NAME"

# Names as `_plain` has them, those first that say most clearly what they are.
_IMAGES = (
    "image",
    "image_name",
    "img_name",
    "imagename",
    "filename",
    "file_name",
    "image_file",
    "image_path",
    "dist_img",
    "dist_name",
    "img",
    "name",
    "file",
    "path",
)
_SCORES = ("mos", "mos_quality", "mos_image", "mean_opinion_score", "mos_zscore")
_REFERENCES = (
    "ref_img",
    "ref_image",
    "ref_name",
    "ref_img_name",
    "refname",
    "ref",
    "reference",
    "reference_image",
    "reference_name",
)
# KonIQ-10k: Hosu et al., IEEE TIP 2020; its MOS is on 1..5, in some later releases on 1..100.
# KADID-10k: Lin et al., QoMEX 2019; what it calls dmos is on 1..5 and higher is better.
# SPAQ: Fang et al., CVPR 2020; 0..100. FLIVE: Ying et al., CVPR 2020; 0..100.
# AGIQA-3K: Li et al., IEEE TCSVT 2023; 0..5, beside the alignment of picture and prompt.
_SOURCES = {
    ("image_name", "mos"): "KonIQ-10k",
    ("image name", "mos"): "SPAQ",
    ("name", "mos"): "FLIVE",
    ("name", "mos_image"): "FLIVE",
    ("name", "mos_quality"): "AGIQA-3K",
    ("img_name", "mos"): "pyiqa",
}
KADID = "KADID-10k"
_KADID_NAME = re.compile(r"(?:.*/)?I\d{2}_\d{2}_\d{2}\.png", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class MosColumns:
    """The columns that a person chose: `image=NAME,mos=NAME`, or `dmos=NAME` if low is good.

    image: a name, or a number that counts from 1; None for as the table says. A name that is a
        number stands in double quotes.
    score: likewise. lower_better: whether it is a DMOS.
    """

    image: str | None
    score: str
    lower_better: bool

    @classmethod
    def parse(cls, text: str) -> MosColumns:
        """Read the text form; InputError if it is none."""
        chosen: dict[str, str] = {}
        for part in re.split(r",(?=\s*(?:image|mos|dmos)\s*=)", text):
            key, equals, name = part.partition("=")
            key, name = key.strip(), name.strip()
            if key not in ("image", "mos", "dmos") or not equals or not name or key in chosen:
                break
            chosen[key] = name
        else:
            if ("mos" in chosen) != ("dmos" in chosen):
                score = chosen.get("mos", chosen.get("dmos", ""))
                return cls(chosen.get("image"), score, "dmos" in chosen)
        raise InputError(
            f"mos columns '{text}': expected image=NAME,mos=NAME, or dmos=NAME if low is good; "
            "names of columns, or numbers that count from 1; quote a name that is a number"
        )

    @property
    def text(self) -> str:
        """The text form, from which it can be read again."""
        image = "" if self.image is None else f"image={self.image},"
        return f"{image}{'dmos' if self.lower_better else 'mos'}={self.score}"


@dataclass(frozen=True)
class Layout:
    """Where a table has what.

    image, score: columns, from 0. references: columns that name undistorted originals.
    header: whether the first row names the columns. names: its cells.
    doubtful: whether low is taken as good by the word dmos alone.
    notes: what could be chosen otherwise.
    """

    source: str
    lower_better: bool
    image: int
    score: int
    names: tuple[str, ...]
    references: tuple[int, ...] = ()
    header: bool = True
    doubtful: bool = False
    notes: tuple[str, ...] = ()


def _plain(cell: object) -> str:
    """A column's name in lower case, its words joined by underscores."""
    return re.sub(r"[\s\-]+", "_", ("" if cell is None else str(cell)).strip().lower())


def names_of(row: Sequence[object]) -> tuple[str, ...]:
    """The cells of a header as text."""
    return tuple("" if cell is None else " ".join(str(cell).split()) for cell in row)


def known_layout(row: Sequence[object]) -> Layout | None:
    """The layout of a table with this header, None where it names no image or no score."""
    names = names_of(row)
    plain = [_plain(name) for name in names]
    images = [name for name in _IMAGES if name in plain]
    scores = [name for name in (*_SCORES, "dmos") if name in plain]
    if not images or not scores:
        return None
    image, score = plain.index(images[0]), plain.index(scores[0])
    source = _SOURCES.get((names[image].lower(), plain[score]), OWN)
    lower_better = scores[0] == "dmos"
    if images[0] == "dist_img" and lower_better:
        source = KADID
    notes = []
    others = [n for k, n in enumerate(names) if k != score and _is_score(plain[k])]
    if others:
        notes.append(
            f"opinion scores: column {names[score]}, not {first(others)}; --mos-columns mos=NAME "
            "takes another"
        )
    others = [names[plain.index(name)] for name in images[1:]]
    if others:
        notes.append(
            f"opinion scores: images are those of column {names[image]}, not {first(others)}; "
            f"{OPTION} takes another"
        )
    references = tuple(k for k, name in enumerate(plain) if name in _REFERENCES)
    return Layout(
        source,
        lower_better,
        image,
        score,
        names,
        references,
        doubtful=lower_better,
        notes=tuple(notes),
    )


def check_single(path: Path, layout: Layout, *columns: int) -> None:
    """Raise InputError where another column has the name of one of `columns`, counted from 0."""
    plain = [_plain(name) for name in layout.names]
    for at in columns:
        alike = [k + 1 for k, name in enumerate(plain) if name == plain[at]]
        if len(alike) > 1:
            raise InputError(
                f"{path}: has {len(alike)} columns {layout.names[at]}, of numbers "
                f"{', '.join(map(str, alike))}; choose by number: --mos-columns "
                f"image={layout.image + 1},mos={layout.score + 1}, or dmos= if low is good"
            )


def _is_score(plain: str) -> bool:
    return re.search(r"(^|_)d?mos(_|$)", plain) is not None


def settled(path: Path, layout: Layout, images: Sequence[str]) -> Layout:
    """The layout whose dmos is KADID-10k's where the names of all images are, and is noted where
    only its name says that low is good.

    Raises InputError for what has KADID-10k's columns or names, and other images.
    """
    if not layout.doubtful:
        return layout
    odd = next((name for name in images if not _KADID_NAME.fullmatch(name)), None)
    if odd is None:
        return replace(layout, source=KADID, lower_better=False)
    image, score = layout.names[layout.image], layout.names[layout.score]
    own = next((name for name in images if _KADID_NAME.fullmatch(name)), None)
    if layout.source == KADID or own is not None:
        what = "columns" if own is None else f"names, such as {own}"
        raise InputError(
            f"{path}: has {KADID}'s {what}, whose dmos is better where it is higher, and other "
            f"images, such as {odd}; say which it is with --mos-columns image={image},mos={score}, "
            f"or dmos={score} if low is good"
        )
    note = f"opinion scores: {score}: lower is better; if higher is, give --mos-columns mos={score}"
    return replace(layout, notes=(note, *layout.notes))


def chosen_layout(
    path: Path, row: Sequence[object], columns: MosColumns, *, numeric: bool
) -> Layout | None:
    """The layout that a person chose for a table with this first row; None where it has too few
    columns for their numbers.

    Numbers are positions, and names stand in a header. numeric: whether the first row's cell of the
    score's number holds one, so that it is no header.

    Raises InputError for a name that the header does not have or has twice.
    """
    names = names_of(row)
    known = known_layout(row)
    score = _position(path, names, columns.score)
    if columns.image is not None:
        image = _position(path, names, columns.image)
    elif known is not None:
        image = known.image
        check_single(path, replace(known, score=score), image)
    else:
        raise InputError(
            f"{path}: cannot tell which of its columns {first(names)} names the images; give "
            f"{OPTION}"
        )
    if max(image, score) >= len(names):
        return None
    chosen = [column for column in (columns.image, columns.score) if column is not None]
    header = not (
        len(chosen) == 2
        and all(map(_is_number, chosen))
        and (numeric or looks_like_image(names[image]))
    )
    if header:
        for column in filter(_is_number, chosen):
            if column in names and names[int(column) - 1] != column:
                raise InputError(
                    f"{path}: its column {column} is called {names[int(column) - 1]}, and another "
                    f'is called {column}; give names in double quotes, such as "{column}"'
                )
    references = () if known is None else known.references
    return Layout(OWN, columns.lower_better, image, score, names, references, header)


def looks_like_image(cell: str) -> bool:
    """Whether a cell ends as names of images do."""
    return PurePath(cell).suffix.lower() in SUFFIXES


def _is_number(column: str) -> bool:
    return column.isdecimal() and column.isascii()


def _position(path: Path, names: Sequence[str], column: str) -> int:
    if _is_number(column):
        if int(column) == 0:
            raise InputError("mos columns: numbers count from 1, got 0")
        return int(column) - 1
    quoted = len(column) > 2 and column[0] == column[-1] == '"'
    if quoted and column not in names:
        column = column[1:-1]
    if column in names:
        if names.count(column) > 1:
            raise InputError(f"{path}: has {names.count(column)} columns {column}; give its number")
        return names.index(column)
    plain = [_plain(name) for name in names]
    if plain.count(_plain(column)) == 1:
        return plain.index(_plain(column))
    raise InputError(f"{path}: has no column {column}; its first line has {first(names)}")


def score_column(columns: MosColumns, row: Sequence[object]) -> int | None:
    """The number of the chosen score's column, from 0, where it was chosen by number."""
    if not _is_number(columns.score):
        return None
    at = int(columns.score) - 1
    return at if 0 <= at < len(row) else None
