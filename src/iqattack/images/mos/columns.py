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

# Names as returned by `_plain`, the least ambiguous first.
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
# KADID-10k: Lin et al., QoMEX 2019; its column dmos is on 1..5 and higher is better.
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
    """Columns chosen by the user: `image=NAME,mos=NAME`, or `dmos=NAME` if lower is better.

    image: a name, or a number counted from 1; None to detect it. A name that is a number must be in
        double quotes.
    score: likewise. lower_better: whether it is a DMOS.
    """

    image: str | None
    score: str
    lower_better: bool

    @classmethod
    def parse(cls, text: str) -> MosColumns:
        """Parse the text form; InputError if it is invalid."""
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
            f"mos columns '{text}': expected image=NAME,mos=NAME, or dmos=NAME if lower is better; "
            "NAME is a column's name or its number, counted from 1; quote a name that is a number"
        )

    @property
    def text(self) -> str:
        """The text form, which `parse` reads."""
        image = "" if self.image is None else f"image={self.image},"
        return f"{image}{'dmos' if self.lower_better else 'mos'}={self.score}"


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    image, score: columns, counted from 0. references: columns that name undistorted originals.
    header: whether the first row names the columns. names: its cells.
    doubtful: whether only the word dmos indicates that lower is better.
    notes: choices that the user may want to change.
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
    """A column's name in lower case, with underscores between words."""
    return re.sub(r"[\s\-]+", "_", ("" if cell is None else str(cell)).strip().lower())


def names_of(row: Sequence[object]) -> tuple[str, ...]:
    """The cells of a header as text."""
    return tuple("" if cell is None else " ".join(str(cell).split()) for cell in row)


def known_layout(row: Sequence[object]) -> Layout | None:
    """The layout of a table with this header; None if it names no image or no score."""
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
            "selects another"
        )
    others = [names[plain.index(name)] for name in images[1:]]
    if others:
        notes.append(
            f"opinion scores: images are those of column {names[image]}, not {first(others)}; "
            f"{OPTION} selects another"
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
    """Raise InputError if another column has the name of one of `columns`, counted from 0."""
    plain = [_plain(name) for name in layout.names]
    for at in columns:
        alike = [k + 1 for k, name in enumerate(plain) if name == plain[at]]
        if len(alike) > 1:
            raise InputError(
                f"{path}: has {len(alike)} columns {layout.names[at]}, numbers "
                f"{', '.join(map(str, alike))}; choose by number: --mos-columns "
                f"image={layout.image + 1},mos={layout.score + 1}, or dmos= if lower is better"
            )


def _is_score(plain: str) -> bool:
    return re.search(r"(^|_)d?mos(_|$)", plain) is not None


def settled(path: Path, layout: Layout, images: Sequence[str]) -> Layout:
    """Resolve a column dmos by the images: if all names are KADID-10k's, higher is better;
    otherwise lower is, with a note.

    Raises InputError for a table with KADID-10k's columns or names, but other images, too.
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
            f"{path}: has {KADID}'s {what}, where a higher dmos is better, and other images, such "
            f"as {odd}; choose with --mos-columns image={image},mos={score}, or dmos={score} if "
            "lower is better"
        )
    note = f"opinion scores: {score}: lower is better; if higher is, give --mos-columns mos={score}"
    return replace(layout, notes=(note, *layout.notes))


def chosen_layout(
    path: Path, row: Sequence[object], columns: MosColumns, *, numeric: bool
) -> Layout | None:
    """The layout with the user's columns for a table with this first row; None if the row has too
    few columns for their numbers.

    Numbers are positions; names require a header. numeric: whether the score's cell in the first
    row is a number, so that the row is not a header.

    Raises InputError for a name that is missing from the header or occurs twice.
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
    """Whether a cell ends in the suffix of an image file."""
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
    """The score's column, counted from 0, if it was chosen by number and exists."""
    if not _is_number(columns.score):
        return None
    at = int(columns.score) - 1
    return at if 0 <= at < len(row) else None
