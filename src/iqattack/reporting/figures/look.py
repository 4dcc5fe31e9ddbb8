"""Style of figures for papers, and saving them: the same input gives the same bytes.

Nothing here changes matplotlib's settings for the rest of the program, or needs a display.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from iqattack.errors import InputError, one_line

# Okabe and Ito's colours without the two lightest, ordered so that neighbours differ in grey.
COLOURS = ("#0072b2", "#d55e00", "#000000", "#e69f00", "#009e73", "#cc79a7")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY = "0.45"
LOOK: Mapping[str, Any] = {
    # Both ship with matplotlib: the first resembles Times, the second has more letters.
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "legend.borderpad": 0.2,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.5,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "axes.prop_cycle": cycler(color=COLOURS),
    "pdf.fonttype": 42,  # TrueType, which publishers require
    "ps.fonttype": 42,
    "svg.hashsalt": "iqattack",
    "savefig.dpi": 300,
    "figure.dpi": 150,
    "pgf.texsystem": "pdflatex",
    "pgf.rcfonts": False,  # those of the paper
}
# Settings that a figure style may not change.
_OTHERS = (
    "backend",
    "interactive",
    "toolbar",
    "timezone",
    "webagg",
    "savefig.directory",
    "docstring",
)
# Metadata on when a file was made.
_UNDATED: Mapping[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "ModDate": None},
    "svg": {"Date": None},
}


def read_style(path: Path) -> dict[str, Any]:
    """The settings of a matplotlib style file; InputError if it is not one."""
    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(" ".join(record.getMessage().split()).partition(" You probably")[0])

    logger, heard = logging.getLogger("matplotlib"), Heard(logging.WARNING)
    logger.addHandler(heard)
    try:
        found = mpl.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check the path"
        ) from None
    except Exception as error:
        raise _no_style(path, one_line(error)) from None
    finally:
        logger.removeHandler(heard)
    if said:
        raise _no_style(path, said[0])
    return {name: value for name, value in found.items() if not name.startswith(_OTHERS)}


def _no_style(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: is not a matplotlib style ({why}); expected lines such as font.size: 9"
    )


@contextmanager
def looking(style: Mapping[str, Any]) -> Iterator[None]:
    """Apply our settings, and those of a style, within the block; ignore any others."""
    settings: Any = {**LOOK, **style}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


class PaperFigure(Figure):
    """A figure that keeps its look wherever it is saved, and that notebooks show."""

    style: Mapping[str, Any] = {}

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save as matplotlib does, with our settings and without a date in the file."""
        form = options.get("format")
        if form is None and isinstance(fname, str | Path):
            form = Path(fname).suffix.removeprefix(".").lower()
        options.setdefault("metadata", _UNDATED.get(str(form)))
        with looking(self.style):
            super().savefig(fname, **options)

    def encoded(self, form: str) -> bytes:
        """The file of that format: pdf, svg, png or pgf."""
        data = BytesIO()
        self.savefig(data, format=form)
        return data.getvalue()

    def _repr_png_(self) -> bytes:
        data = BytesIO()
        self.savefig(data, format="png", dpi=self.dpi)
        return data.getvalue()
