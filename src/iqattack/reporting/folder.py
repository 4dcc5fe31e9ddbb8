"""A page that is a folder: written whole, in one step, over nothing but an earlier one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from iqattack.errors import InputError
from iqattack.runs.files import cannot_write
from iqattack.specs import printable

LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left behind by file managers
PUBLISHING = {".gitignore", ".nojekyll", "CNAME"}  # kept beside a page on the web


@dataclass(frozen=True)
class PageFolder:
    """A kind of page. name: for messages. other: finds something in a folder that does not belong
    to such a page; None if there is nothing, so that the folder may be replaced.
    """

    name: str
    other: Callable[[Path], str | None]

    def write(self, out: Path, fill: Callable[[Path], None]) -> None:
        """Fill a new folder and put it at `out`; an earlier page there is removed last, and the
        files that publish it are kept. InputError for anything else there, or a folder that cannot
        be written; nothing half-written is left.
        """
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=out.parent))
            try:
                fill(made)
                made.chmod(0o755)  # like any folder, not private like a temporary one
                self._put(made, out)
            finally:
                shutil.rmtree(made, ignore_errors=True)
        except OSError as error:
            raise cannot_write(out, error) from None

    def refuse_other(self, out: Path, there: Path | None = None) -> None:
        """Raise InputError unless `out` is free, an empty folder or such a page.

        there: the present place of what was at `out`.
        """
        there = out if there is None else there
        try:
            if there.is_dir() and (here := _working_folder()) is not None:
                at = there.resolve()
                if at == here or at in here.parents:
                    raise InputError(
                        f"{out}: is the working folder or above it, and cannot be replaced; give "
                        "another --out, or go to another folder first"
                    )
            if there.is_symlink():
                raise InputError(f"{out}: is a link, expected a folder; give another --out")
            if there.exists() and not there.is_dir():
                raise InputError(f"{out}: is a file, expected a folder; give another --out")
            if there.is_dir() and (other := self.other(there)) is not None:
                raise InputError(
                    f"{out}: is not a {self.name}, but has {printable(other)}; give another --out"
                )
        except OSError as error:
            raise cannot_write(out, error) from None

    def _put(self, made: Path, out: Path) -> None:
        if not out.exists():
            made.rename(out)
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=out.parent))
        old = aside / out.name
        try:
            out.rename(old)
            try:
                self.refuse_other(out, old)  # something may have been added meanwhile
                for name in PUBLISHING:
                    if (old / name).is_file():
                        shutil.copy2(old / name, made / name)
                made.rename(out)
            except BaseException:
                old.rename(out)
                raise
            shutil.rmtree(old, ignore_errors=True)
        finally:
            with suppress(OSError):
                aside.rmdir()


def _working_folder() -> Path | None:
    """The working folder, or None if it no longer exists."""
    try:
        return Path.cwd().resolve()
    except OSError:
        return None
