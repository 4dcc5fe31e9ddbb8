"""Mean opinion scores, in the form in which databases publish them."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from iqattack.errors import InputError
from iqattack.images.sets import ImageEntry, ImageSet, some

OWN = "iqattack CSV"

# Columns of the image and of its score, the format, and whether a low score means good quality.
# KonIQ-10k: Hosu et al., IEEE TIP 2020; its MOS is on 1..5, in some later releases on 1..100.
# KADID-10k: Lin et al., QoMEX 2019; what it calls dmos is on 1..5 and higher is better.
# SPAQ: Fang et al., CVPR 2020; 0..100.
COLUMNS = {
    ("image", "mos"): (OWN, False),
    ("image", "dmos"): (OWN, True),
    ("image_name", "mos"): ("KonIQ-10k", False),
    ("dist_img", "dmos"): ("KADID-10k", False),
    ("image name", "mos"): ("SPAQ", False),
}
# LIVE release 2 numbers its images through these folders, in this order.
LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}

# What a database's folder is searched for. Of LIVE's two tables the realigned one is preferred,
# on which NR-IQA models are commonly trained and tested.
PUBLISHED = (
    "AllMOS_release.mat",
    "dmos_realigned.mat",
    "dmos.mat",
    "dmos.csv",
    "mos_with_names.txt",
    "koniq10k_scores_and_distributions.csv",
    "koniq10k_scores.csv",
    "MOS and Image attribute scores.xlsx",
)
SUBFOLDERS = ("", "Data", "Annotations")

Row = tuple[str, str, object]  # where it stands, image, score


@dataclass(frozen=True)
class MosTable(Mapping[str, float]):
    """Scores by image, as published.

    path: the file.
    source: name of its format.
    lower_better: True for difference scores (DMOS), where low means good quality.
    scores: score of each image; LIVE's are named with their folder, `jp2k/img1.bmp`.
    references: images that are no test images, though the database scores them: LIVE's copies of
        the undistorted originals.
    """

    path: Path
    source: str
    lower_better: bool
    scores: Mapping[str, float]
    references: frozenset[str] = frozenset()
    _folded: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count = Counter(map(str.casefold, self.names))
        folded = {name.casefold(): name for name in self.names if count[name.casefold()] == 1}
        object.__setattr__(self, "_folded", folded)

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

        Looked for by its folder and file name, its name in the set and its file name, exactly and
        then, since TID2013 names files in another case than it has them, ignoring case.
        """
        for name in (_with_folder(entry), entry.name, entry.path.name):
            for known in (name, self._folded.get(name.casefold())):
                if known is not None and (known in self.scores or known in self.references):
                    return known
        return None


def read_mos(path: str | Path) -> MosTable:
    """Read a table of mean opinion scores, of any format that is recognised.

    CSV with the columns `image,mos` (or `image,dmos`, lower is better), others ignored; the
    published files of KonIQ-10k, KADID-10k, TID2013, SPAQ (needs the extra iqattack[xlsx]), LIVE
    Challenge (AllMOS_release.mat beside AllImages_release.mat) and LIVE release 2 (dmos.mat or
    dmos_realigned.mat beside refnames_all.mat); or the folder of such a database.

    Raises InputError when nothing is recognised, and for a score that is missing, given twice or
    not a finite number, with its line.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = _in_folder(path)
        found = path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be reached ({error.strerror}); check it") from None
    if not found:
        raise InputError(f"{path}: no such MOS table; check the path")
    readers = {".csv": _read_csv, ".txt": _read_tid, ".xlsx": _read_xlsx, ".mat": _read_mat}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown MOS table, expected {', '.join(readers)} or a folder")
    table = reader(path)
    if not table.scores:
        raise InputError(f"{path}: holds no scores, expected one per image")
    return table


def match_mos(images: ImageSet, table: MosTable, *, allow_unknown: bool | None = None) -> ImageSet:
    """Give every image its score of the table.

    Images that the table marks as references are left out, and the set's notes say so. Scores of
    images that are not in the set are an error, unless `allow_unknown`; by default they are
    allowed in the table of a whole database, and not in one's own CSV. So match before limiting.

    Raises InputError naming the images without a score, the unknown ones, or two images that one
    score would serve.
    """
    owner: dict[str, ImageEntry] = {}
    missing, entries = [], []
    for entry in images:
        known = table.find(entry)
        if known is None:
            missing.append(entry.name)
            continue
        other = owner.setdefault(known, entry)
        if other is not entry:
            raise InputError(
                f"{table.path}: {known} fits both {other.path} and {entry.path}; name them with "
                f"their folders, such as {_with_folder(entry)}"
            )
        if known in table.scores:
            entries.append(replace(entry, mos=table[known]))
    if missing:
        raise InputError(
            f"{table.path}: no score for {some(missing)} of {len(images)} images; add them to the "
            "table or leave them out"
        )
    if allow_unknown is None:
        allow_unknown = table.source != OWN
    unknown = sorted(table.names.difference(owner))
    if unknown and not allow_unknown:
        raise InputError(
            f"{table.path}: scores {some(unknown)} that are not among the {len(images)} images; "
            "remove them from the table or add the images"
        )
    notes = images.notes
    if len(entries) < len(images):
        notes += (f"{len(images) - len(entries)} reference images left out",)
    return ImageSet(tuple(entries), notes)


def _with_folder(entry: ImageEntry) -> str:
    return "/".join(entry.path.absolute().parts[-2:])


def _in_folder(folder: Path) -> Path:
    for name in PUBLISHED:
        for sub in SUBFOLDERS:
            if (folder / sub / name).is_file():
                return folder / sub / name
    raise InputError(f"{folder}: no MOS table in this folder, expected {', '.join(PUBLISHED)}")


def _scores(path: Path, rows: Iterable[Row]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for where, image, value in rows:
        if not image:
            raise InputError(f"{path}, {where}: no image name, expected one")
        if image in scores:
            raise InputError(f"{path}, {where}: {image} is scored twice; keep one")
        try:
            score = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"{path}, {where}: score {value!r} of {image}, expected a number")
        scores[image] = score
    return scores


def _columns(path: Path, header: Iterable[object]) -> tuple[str, bool, int, int]:
    names = ["" if cell is None else str(cell).strip().lower() for cell in header]
    for (image, score), (source, lower_better) in COLUMNS.items():
        if image in names and score in names:
            return source, lower_better, names.index(image), names.index(score)
    raise InputError(
        f"{path}: unknown columns {','.join(names)[:80]!r}, expected image,mos separated by commas"
    )


def _text(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _table(path: Path, rows: Iterable[tuple[int, list[Any]]]) -> MosTable:
    """A table from numbered rows of cells, the header first."""
    numbered = iter(rows)
    header = next(numbered, (0, []))[1]
    source, lower_better, image, score = _columns(path, header)

    def cells() -> Iterator[Row]:
        for number, row in numbered:
            if any(cell is not None and str(cell).strip() for cell in row):
                if len(row) <= max(image, score):
                    raise InputError(f"{path}, line {number}: too few columns, expected a score")
                if any(cell not in (None, "") for cell in row[len(header) :]):
                    raise InputError(  # a decimal comma, or a name with a comma
                        f"{path}, line {number}: {len(row)} columns, the first line has "
                        f"{len(header)}; write 1.5 for 1,5, and quote names that have commas"
                    )
                yield f"line {number}", str(row[image] or "").strip(), row[score]

    return MosTable(path, source, lower_better, _scores(path, cells()))


def _read_csv(path: Path) -> MosTable:
    reader = csv.reader(_text(path), strict=True)
    try:
        return _table(path, ((reader.line_num, row) for row in reader))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def _read_xlsx(path: Path) -> MosTable:
    """Read SPAQ's workbook, of whose sheets the first holds the scores."""
    try:
        from openpyxl import load_workbook  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            f"{path}: reading Excel tables needs openpyxl; pip install 'iqattack[xlsx]'"
        ) from None
    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
        rows = [list(row) for row in workbook.worksheets[0].iter_rows(values_only=True)]
        workbook.close()
    except Exception as error:  # whatever zip and XML parsers stumble over
        raise InputError(
            f"{path}: not an Excel workbook ({' '.join(str(error).split())})"
        ) from None
    return _table(path, enumerate(rows, start=1))


def _read_tid(path: Path) -> MosTable:
    """Read TID2013's mos_with_names.txt: a MOS of 0..9 and a file name per line.

    Ponomarenko et al., Signal Processing: Image Communication 2015.
    """

    def rows() -> Iterator[Row]:
        for number, line in enumerate(_text(path), start=1):
            cells = line.split()
            if len(cells) == 2:
                yield f"line {number}", cells[1], cells[0]
            elif cells:
                raise InputError(f"{path}, line {number}: {line.strip()!r}, expected 'mos image'")

    return MosTable(path, "TID2013", False, _scores(path, rows()))


def _read_mat(path: Path) -> MosTable:
    variables = _variables(path)
    if "AllMOS_release" in variables:
        return _live_challenge(path, variables["AllMOS_release"])
    for name in ("dmos_new", "dmos"):
        if name in variables and "orgs" in variables:
            return _live(path, variables[name], variables["orgs"])
    found = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
    raise InputError(f"{path}: holds {found}, expected AllMOS_release, or dmos and orgs")


def _variables(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is needed beside the scores")
    try:
        return dict(loadmat(path))
    except Exception as error:  # whatever SciPy's parser stumbles over
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a MATLAB file of version 4 to 7.2 ({reason})") from None


def _names(path: Path, variable: str) -> list[str]:
    """Names in a MATLAB cell array of strings."""
    cells = _variables(path).get(variable)
    if cells is None:
        raise InputError(f"{path}: holds no {variable}; get the file again")
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

    The first seven images were shown to train the subjects; they are part of the table.
    """
    names = _names(path.with_name("AllImages_release.mat"), "AllImages_release")
    rows = _numbered(path, names, values, len(names), "scores")
    return MosTable(path, "LIVE Challenge", False, _scores(path, rows))


def _live(path: Path, values: Any, orgs: Any) -> MosTable:
    """LIVE release 2 (Sheikh et al., IEEE TIP 2006): DMOS of about 0..100, 0 for originals.

    The originals are in `refimgs`, and copies of them, marked in `orgs`, among the others.
    """
    names = [f"{folder}/img{k}.bmp" for folder, n in LIVE_FOLDERS.items() for k in range(1, n + 1)]
    scores = _scores(path, _numbered(path, names, values, len(names), "scores"))
    original = np.ravel(orgs)
    if len(original) != len(names):
        raise InputError(f"{path}: {len(original)} orgs, expected {len(names)}")
    copies = {name for name, flag in zip(names, original, strict=True) if flag}
    refimgs = _names(path.with_name("refnames_all.mat"), "refnames_all")
    return MosTable(
        path,
        "LIVE release 2",
        True,
        {name: score for name, score in scores.items() if name not in copies},
        frozenset(copies | {f"refimgs/{name}" for name in refimgs}),
    )
