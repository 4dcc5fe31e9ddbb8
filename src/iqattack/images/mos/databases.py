"""Databases with table formats of their own: TID2013, PIPAL, LIVE, LIVE Challenge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from iqattack.errors import InputError
from iqattack.images.files import LARGEST_TABLE, bytes_of, read_lines, read_text
from iqattack.images.mos.delimited import split_blanks
from iqattack.images.mos.numbers import Row, number, scores
from iqattack.images.mos.table import MosTable, unscored

# LIVE release 2 numbers its images through these folders, in this order.
LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}

# PIPAL: Gu et al., ECCV 2020; Elo ratings of about 900 to 1900, a file per original.
_PIPAL = re.compile(r"(A\d{4})_\d{2}_\d{2}(\.\w+)", re.ASCII)
_PIPAL_FILE = re.compile(r"A\d{4}\.txt", re.ASCII)


def is_pipal(path: Path) -> bool:
    """Whether a `.txt` file is a table of PIPAL, by its first line."""
    first = next((line for line in read_lines(path) if line.strip()), "")
    return _PIPAL.fullmatch(first.partition(",")[0].strip()) is not None


def pipal_files(folder: Path) -> list[Path]:
    """PIPAL's tables in a folder or its Train_Label, one per original."""
    for place in (folder, folder / "Train_Label"):
        if place.is_dir():
            files = sorted(p for p in place.iterdir() if _PIPAL_FILE.fullmatch(p.name))
            if files:
                return [p for p in files if p.is_file()]
    return []


def read_pipal(path: Path, files: Iterable[Path]) -> MosTable:
    """Read PIPAL's tables as one: an image and its score per line; the originals are A0001.bmp."""
    found: dict[str, float] = {}
    originals = set()
    for file in files:
        rows = []
        for k, line in enumerate(read_lines(file), start=1):
            image, comma, score = (part.strip() for part in line.partition(","))
            if not line.strip():
                continue
            match = _PIPAL.fullmatch(image)
            if match is None or not comma:
                raise InputError(f"{file}, line {k}: {line!r}, expected 'A0001_00_00.bmp,1500.1'")
            originals.add(match[1] + match[2])
            rows.append((f"line {k}", image, score))
        more = scores(file, rows)
        twice = next(iter(more.keys() & found.keys()), None)
        if twice is not None:
            raise InputError(f"{file}: {twice} is also scored in another file; keep one")
        found |= more
    return MosTable(path, "PIPAL", False, found, unscored(originals, found))


def read_tid(path: Path) -> MosTable:
    """Read TID2013's mos_with_names.txt: a MOS of 0..9 and a file name per line.

    Ponomarenko et al., Signal Processing: Image Communication 2015. The original of I01_01_1.bmp
    is I01.bmp.
    """

    def rows() -> Iterator[Row]:
        for k, cells in split_blanks(read_text(path)):
            if len(cells) != 2 or (number(cells[0]) is None and number(cells[1]) is not None):
                raise InputError(
                    f"{path}, line {k}: {' '.join(cells)!r}, expected 'mos image'; or name its "
                    "columns, such as --mos-columns image=1,mos=2"
                )
            yield f"line {k}", cells[1], cells[0]

    found = scores(path, rows())
    originals = {
        match[1] + match[2]
        for match in (re.fullmatch(r"(I\d{2})_\d{2}_\d(\.\w+)", name, re.I) for name in found)
        if match is not None
    }
    return MosTable(path, "TID2013", False, found, unscored(originals, found))


def read_mat(path: Path) -> MosTable:
    """Read the scores of LIVE release 2 or of LIVE Challenge."""
    variables = _variables(path)
    if "AllMOS_release" in variables:
        return _live_challenge(path, variables["AllMOS_release"])
    for name in ("dmos_new", "dmos"):
        if name in variables and "orgs" in variables:
            return _live(path, variables[name], variables["orgs"])
    found = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
    raise InputError(f"{path}: has {found}, expected AllMOS_release, or dmos and orgs")


def _variables(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is needed beside the scores")
    if not bytes_of(path, LARGEST_TABLE, "a table"):
        raise InputError(f"{path}: is an empty file, expected a MATLAB file; download it again")
    try:
        return dict(loadmat(path))
    except Exception as error:  # SciPy's parser raises various kinds
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a MATLAB file of version 4 to 7.2 ({reason})") from None


def _names(path: Path, variable: str) -> list[str]:
    """Names in a MATLAB cell array of strings."""
    cells = _variables(path).get(variable)
    if cells is None:
        raise InputError(f"{path}: has no {variable}; download the file again")
    return [str(np.ravel(cell)[0]) if np.size(cell) else "" for cell in np.ravel(cells)]


def _numbered(path: Path, names: list[str], values: Any, expected: int, what: str) -> Iterator[Row]:
    values = np.ravel(values).tolist()
    if not len(names) == len(values) == expected:
        raise InputError(
            f"{path}: {len(values)} {what} for {len(names)} images, expected {expected} of each"
        )
    return ((f"entry {k}", *row) for k, row in enumerate(zip(names, values, strict=True), start=1))


def _live_challenge(path: Path, values: Any) -> MosTable:
    """LIVE In the Wild (Ghadiyaram & Bovik, IEEE TIP 2016): MOS of 0..100.

    The first seven images were shown to train the subjects, and are part of the table.
    """
    names = _names(path.with_name("AllImages_release.mat"), "AllImages_release")
    rows = _numbered(path, names, values, len(names), "scores")
    return MosTable(path, "LIVE Challenge", False, scores(path, rows))


def _live(path: Path, values: Any, orgs: Any) -> MosTable:
    """LIVE release 2 (Sheikh et al., IEEE TIP 2006): DMOS of about 0..100, 0 for originals.

    The originals are in `refimgs`, and copies of them, marked in `orgs`, among the others.
    """
    names = [f"{folder}/img{k}.bmp" for folder, n in LIVE_FOLDERS.items() for k in range(1, n + 1)]
    found = scores(path, _numbered(path, names, values, len(names), "scores"))
    original = np.ravel(orgs)
    if len(original) != len(names):
        raise InputError(f"{path}: {len(original)} orgs, expected {len(names)}")
    copies = {name for name, flag in zip(names, original, strict=True) if flag}
    refimgs = _names(path.with_name("refnames_all.mat"), "refnames_all")
    return MosTable(
        path,
        "LIVE release 2",
        True,
        {name: score for name, score in found.items() if name not in copies},
        frozenset(copies | {f"refimgs/{name}" for name in refimgs}),
    )
