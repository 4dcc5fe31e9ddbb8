"""Mean opinion scores, in the formats of published databases."""

from __future__ import annotations

from pathlib import Path

from iqattack.errors import InputError
from iqattack.images.mos.columns import MosColumns
from iqattack.images.mos.databases import (
    is_pipal,
    pipal_files,
    read_mat,
    read_pipal,
    read_tid,
)
from iqattack.images.mos.delimited import has_header, read_delimited, read_xlsx
from iqattack.images.mos.table import MosTable, match_mos
from iqattack.paths import FILE, FOLDER, kind_of_file

__all__ = ["MosColumns", "MosTable", "match_mos", "read_mos"]

# Tables to look for in a database's folder. Of LIVE's two, the realigned one is preferred, on which
# NR-IQA models are commonly trained and tested.
PUBLISHED = (
    "AllMOS_release.mat",
    "dmos_realigned.mat",
    "dmos.mat",
    "dmos.csv",
    "mos_with_names.txt",
    "koniq10k_scores_and_distributions.csv",
    "koniq10k_scores.csv",
    "MOS and Image attribute scores.xlsx",
    "labels_image.csv",
    "data.csv",
)
SUBFOLDERS = ("", "Data", "Annotations")
SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".mat")


def read_mos(path: str | Path, columns: str | MosColumns | None = None) -> MosTable:
    """Read a table of mean opinion scores in any of these formats.

    - Text with a header and columns separated by commas, semicolons or tabs: `image,mos`,
      `image,dmos` (lower is better), or other common names of these columns.
    - The published files of KonIQ-10k, KADID-10k, TID2013, SPAQ (needs iqattack[xlsx]), FLIVE,
      AGIQA-3K, PIPAL (one file, or the folder), LIVE Challenge (AllMOS_release.mat, with
      AllImages_release.mat next to it) and LIVE release 2 (dmos.mat or dmos_realigned.mat, with
      refnames_all.mat next to it), or the folder of such a database.

    columns: for any other table, `image=NAME,mos=NAME` or `dmos=NAME`; numbers count from 1.

    Raises InputError for an unrecognised table, and, with the line, for a score that is missing,
    duplicate or not a finite number.

    >>> from iqattack.images import read_mos
    >>> table = read_mos("photos/mos.csv")
    >>> len(table), table.lower_better
    (24, False)
    """
    path = Path(path)
    chosen = MosColumns.parse(columns) if isinstance(columns, str) else columns
    try:
        kind = kind_of_file(path)
        if kind == FOLDER:
            files = pipal_files(path)
            if files and chosen is None:
                return _filled(read_pipal(path, files))
            path = _in_folder(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such MOS table; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be accessed ({error.strerror}); check the path") from None
    if kind not in (FILE, FOLDER):
        raise InputError(f"{path}: is a {kind}, expected a file or a folder; save the table first")
    return _filled(_read(path, chosen))


def _read(path: Path, columns: MosColumns | None) -> MosTable:
    suffix = path.suffix.lower()
    if suffix == ".mat":
        if columns is not None:
            raise InputError(f"{path}: columns of a MATLAB file cannot be chosen; leave them out")
        return read_mat(path)
    if suffix == ".xlsx":
        return read_xlsx(path, columns)
    if suffix == ".txt" and columns is None:
        if is_pipal(path):
            return read_pipal(path, [path])
        if not has_header(path):
            return read_tid(path)
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown MOS table, expected {', '.join(SUFFIXES)} or a folder")
    return read_delimited(path, columns)


def _filled(table: MosTable) -> MosTable:
    if not table.scores:
        raise InputError(f"{table.path}: has no scores, expected one per image")
    return table


def _in_folder(folder: Path) -> Path:
    for name in PUBLISHED:
        for sub in SUBFOLDERS:
            if (folder / sub / name).is_file():
                return folder / sub / name
    raise InputError(
        f"{folder}: no MOS table in this folder, expected {', '.join(PUBLISHED)}; or give its path"
    )
