"""Merge the shards of a set into one run, as if a single process had made it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from iqattack.engine import Interrupted, QueryLog
from iqattack.engine.log import BESIDES, RESERVED, TAKEN, Page, refuse_links
from iqattack.errors import InputError, RunError
from iqattack.images import ImageEntry
from iqattack.runs.checked import CHECK, Checked
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import FolderLock, cannot_write, write_text
from iqattack.runs.losses import endless, unsound
from iqattack.runs.owner import is_own, write_signed
from iqattack.runs.provenance import CODE, recoder
from iqattack.runs.results import Result, read_failures
from iqattack.runs.run import LOG, REPAIRED, WRITTEN, Run, refuse_used
from iqattack.runs.settings import Record
from iqattack.runs.shards import Names, Shard, WholeSet
from iqattack.runs.summary import summarise
from iqattack.runs.visibility import VISIBILITY, Kept, Measurements, known

AT_ONCE = 500  # images per transaction
REMEDY = "restore a copy of it, or attack that shard again"
MERGING = ".merging"  # temporary folder
EACH, SPARE = 4, 64  # open files: at most for each shard, and for everything else


@dataclass(frozen=True)
class _Part:
    """A shard to merge. names: of its images, in order."""

    run: Run
    shard: Shard
    log: QueryLog
    names: list[str]

    @property
    def record(self) -> Record:
        return self.run.record

    def __str__(self) -> str:
        return str(self.run.folder)


def merge(folders: Sequence[Path], out: Path, *, callbacks: Callbacks | None = None) -> Run:
    """Merge runs of all shards of a set into a run in the folder `out`, which must be new.

    Every image keeps its rows, direction, attempts, result or failure, and images are in the order
    of the set; attacked images are linked, or copied if that fails. There is no run in `out` before
    everything is done. Only valid codes of this user are made again.

    Raises RunError for shards that do not make up one set or differ in a setting, the model or the
    survey; for logs and results that were changed; for a shard that another process is writing;
    Interrupted when asked to stop.
    """
    notify = callbacks or Callbacks()
    records = _records(folders)
    _refuse_differing(folders, records, notify.note)
    _make_room(len(folders))
    with _made(out) as made, ExitStack() as opened:
        for folder in folders:
            opened.enter_context(_unwritten(folder))
        parts = [
            _part(folder, record, opened) for folder, record in zip(folders, records, strict=True)
        ]
        parts.sort(key=lambda part: part.shard.number)
        run = _write(made, parts, _whole_set(parts), notify)
    return run.moved(out)


# -- which shards -----------------------------------------------------------------------------


def _records(folders: Sequence[Path]) -> list[Record]:
    """The record of each folder; RunError unless these are all shards of one set, each once."""
    if not folders:
        raise RunError("no runs to merge; give the folders of all shards")
    records = [Run.open(folder).record for folder in folders]
    seen: dict[int, Path] = {}
    of = None
    for folder, record in zip(folders, records, strict=True):
        if record.settings.shard is None:
            raise RunError(f"{folder}: is a whole run, not a shard; leave it out")
        shard = Shard.parse(record.settings.shard)
        of = of or shard.of
        if shard.of != of:
            raise RunError(
                f"{folder}: is shard {shard}, but {folders[0]} is one of {of}; give the shards of "
                "one set"
            )
        other = seen.setdefault(shard.number, folder)
        if other is not folder:
            raise RunError(f"{other} and {folder} are both shard {shard}; leave one out")
    missing = [number for number in range(1, (of or 0) + 1) if number not in seen]
    if missing:
        raise RunError(f"of {of} shards {_numbers(missing)} missing; give all of them")
    return records


def _make_room(shards: int) -> None:
    """Raise the limit on open files; RunError if the system does not allow enough."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not every system has it

    wanted = EACH * shards + SPARE
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if limit == unlimited or limit >= wanted:
        return
    if most != unlimited and most < wanted:
        raise RunError(
            f"{shards} shards take up to {wanted} open files, this system allows {most}; raise its "
            "limit (ulimit -n)"
        )
    with suppress(ValueError, OSError):  # if the real limit is lower than reported
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _numbers(missing: Sequence[int]) -> str:
    if len(missing) == 1:
        return f"number {missing[0]} is"
    shown = ", ".join(map(str, missing[:8])) + ", …" * (len(missing) > 8)
    return f"{len(missing)} ({shown}) are"


def _refuse_differing(
    folders: Sequence[Path], records: Sequence[Record], note: Callable[[str, str], None]
) -> None:
    """Raise RunError for shards of different attacks, models or surveys. Paths may differ between
    machines.
    """
    first, record = folders[0], _comparable(records[0])
    elsewhere = versions = 0
    for folder, other in zip(folders, map(_comparable, records), strict=True):
        where = {"images": record.settings.images, "mos": record.settings.mos}
        if Path(other.settings.mos or "").name != Path(record.settings.mos or "").name:
            where.pop("mos")  # another table
        elsewhere += other.settings.images != record.settings.images
        versions += other.versions != record.versions
        alike = other.model_copy(update={"settings": other.settings.model_copy(update=where)})
        what = record.difference(alike)
        if what is None and other.settings.check != record.settings.check:
            what = "check is on for one, off for the other"
        if what is not None:
            what = what.replace(" there", f" in {first}").replace(" here", f" in {folder}")
            raise RunError(f"{folder}: {what}; merge shards of one attack")
        if other.survey != record.survey:
            raise RunError(
                f"{folder}: took its clean scores from another survey than {first}; attack that "
                "shard again with the survey of the others"
            )
        if other.changes:
            raise RunError(
                f"{folder}: {other.changes[0].text}; attack that shard again with one model"
            )
    if elsewhere:
        note(
            "images",
            f"{elsewhere} shards had them at other paths than {first}, whose paths are used from "
            "now on",
        )
    if versions:
        note(
            "versions",
            f"{versions} shards were made with other library versions, or on another kind of "
            f"machine, than {first}, whose versions are recorded",
        )


def _comparable(record: Record) -> Record:
    return record.model_copy(
        update={"settings": record.settings.model_copy(update={"shard": None})}
    )


@contextmanager
def _unwritten(folder: Path) -> Iterator[None]:
    """Lock a run against writing by others, if possible: it may be in a read-only place."""
    refuse_links(*(folder / name for name in WRITTEN))
    try:
        lock = FolderLock(folder)
    except InputError:
        yield
        return
    except RunError:
        raise RunError(
            f"{folder}: another process is writing this run; wait until it ends"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _part(folder: Path, record: Record, opened: ExitStack) -> _Part:
    """Open a shard; RunError if its log is incomplete."""
    run = Run(folder, record)
    run.refuse_lost()
    shard = Shard.parse(record.settings.shard or "")
    log = opened.enter_context(run.open_log())
    wrong = unsound(log) or endless(log)
    if wrong is not None:
        raise RunError(f"{folder}: {LOG} {wrong}; {REMEDY}")
    return _Part(run, shard, log, log.images())


def _set_of(part: _Part) -> WholeSet:
    found = WholeSet.read(part.log)
    if found is None:
        raise RunError(f"{part}: its log is still empty; resume that shard first")
    return found


def _whole_set(parts: Sequence[_Part]) -> WholeSet:
    """The set that the shards make up, in order; RunError if they do not."""
    sets = [_set_of(part) for part in parts]
    first = sets[0]
    for part, there in zip(parts, sets, strict=True):
        if there != first:
            same = there.images == first.images
            what = "other names" if same else f"{there.images} images instead of {first.images}"
            raise RunError(
                f"{part}: belongs to a set with {what}, unlike {parts[0]}; merge shards of one set"
            )
        if len(part.names) != part.shard.size(there.images):
            raise RunError(
                f"{part}: has {len(part.names)} images, but shard {part.shard} of {there.images} "
                f"should have {part.shard.size(there.images)}; {REMEDY}"
            )
    names, seen = Names(), dict[str, _Part]()
    for k in range(first.images):
        part = parts[k % len(parts)]
        name = part.names[k // len(parts)]
        other = seen.setdefault(name, part)
        if other is not part:
            raise RunError(f"{name}: is in both {other} and {part}; merge shards of one set")
        names.add(name)
    if names.whole != first:
        raise RunError(
            f"the images of {parts[0]} and the others are not those of their set: a log was "
            "changed; restore copies of them"
        )
    return first


# -- what is written --------------------------------------------------------------------------


@contextmanager
def _made(out: Path) -> Iterator[Path]:
    """A new folder in `out`, whose contents move to `out` once everything is done; meanwhile nobody
    else can begin a run there. RunError if `out` is not empty. A failure leaves nothing.

    An existing folder is kept, since it may be a mount, or the working folder of a shell.
    """
    made = out / MERGING
    try:
        new = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=True)
            refuse_used(out, MERGING)
            refuse_links(made, out / FolderLock.NAME)
            locked = (out / FolderLock.NAME).exists()
            lock = FolderLock(out)
        except BaseException:
            _remove_empty(new)
            raise
        moved: list[Path] = []
        try:
            refuse_used(out, MERGING)  # another process may have been faster
            if made.exists():  # left by a killed process
                shutil.rmtree(made)
            (made / "adversarial").mkdir(parents=True)
            yield made
            refuse_used(out, MERGING)  # a process that ignores locks
            # run.toml last, which makes it a run.
            for path in sorted(made.iterdir(), key=lambda path: path.name == "run.toml"):
                if path.is_dir() and (out / path.name).is_dir():
                    (out / path.name).rmdir()  # it is empty
                path.rename(out / path.name)
                moved.append(out / path.name)
            made.rmdir()
        except BaseException:
            for path in (*reversed(moved), made):
                with suppress(OSError):
                    (shutil.rmtree if path.is_dir() else os.unlink)(path)
            lock.release(remove=not locked)
            _remove_empty(new)
            raise
        lock.release()
    except OSError as error:
        raise cannot_write(Path(error.filename or out), error) from None


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _write(made: Path, parts: Sequence[_Part], whole: WholeSet, notify: Callbacks) -> Run:
    record = _record_of(parts)
    own = all(is_own(part.run.home / "run.toml") for part in parts)
    (write_signed if own else write_text)(made / "run.toml", record.text())
    run = Run(made, record)
    recoded, gone, pending = recoder(record), 0, 0
    with QueryLog(made / LOG, digests=True) as log:
        pages, kept = list[Page](), dict[str, str]()
        for number, (part, page) in enumerate(_pages(parts, whole.images), 1):
            pages.append(page)
            pending += page.result is None and page.failure is None
            if page.result is not None:
                name, code = _checked(part, page)
                if (code := recoded(part.record, page.result, code)) is not None:
                    kept[f"{CODE} {page.image}"] = code
                gone += not _linked(part, f"{made}/adversarial", name)
            if len(pages) == AT_ONCE or number == whole.images:
                log.adopt(pages, kept)
                pages, kept = [], {}
                notify.merged(number, whole.images)
                if notify.stop():
                    raise Interrupted("stopped; nothing was written")
        log.adopt([], _kept(parts))
    if gone:
        notify.note(
            "images",
            f"{gone} attacked images are missing; 'iqattack attack --resume' makes them again from "
            "the log",
        )
    if pending:
        notify.note(
            "images",
            f"{pending} of {whole.images} are pending; continue with 'iqattack attack --resume', "
            "without --shard",
        )
    _merge_visibility(made, parts, notify.note)
    _export(run, parts)
    return run


def _pages(parts: Sequence[_Part], images: int) -> Iterator[tuple[_Part, Page]]:
    """Every image in the order of the set, with its shard."""
    pages = [part.log.pages() for part in parts]
    for k in range(images):
        which = k % len(parts)
        yield parts[which], next(pages[which])


def _checked(part: _Part, page: Page) -> tuple[str, str | None]:
    """The name of a result's attacked image, and its code; RunError if the result does not match
    its rows.
    """
    try:
        result = Result.read(page.image, page.result or "", hashed=True)
    except RunError as error:
        raise RunError(f"{part}: {error}") from None
    if result.queries != page.queries:
        raise RunError(
            f"{part}: {page.image}: {page.queries} queries in the log, reported {result.queries}; "
            f"{REMEDY}"
        )
    return result.png_name, part.log.kept(f"{CODE} {page.image}")


def _linked(part: _Part, folder: str, name: str) -> bool:
    """Link an attacked image, or copy it; False if it is missing. RunError for anything else."""
    source, target = f"{part.run.images}/{name}", f"{folder}/{name}"
    try:
        if not stat.S_ISREG(os.lstat(source).st_mode):
            refuse_links(Path(source))
            raise RunError(f"{source}: is a folder, expected the attacked image; {REMEDY}")
    except FileNotFoundError:
        return False
    try:
        os.link(source, target)
    except FileExistsError:
        raise RunError(
            f"{part}: {name}: another image has a result of that name; {REMEDY}"
        ) from None
    except OSError:  # another file system, or no support for links
        shutil.copyfile(source, target)
    return True


def _record_of(parts: Sequence[_Part]) -> Record:
    """The run.toml of the merged run."""
    first = parts[0].record
    return _comparable(first).model_copy(
        update={
            "created": min(part.record.created for part in parts),
            "losses": tuple(chain.from_iterable(part.record.losses for part in parts)),
        }
    )


def _kept(parts: Sequence[_Part]) -> dict[str, str]:
    """What the log records about the merged run."""
    found = {}
    logs = [part.log for part in parts]
    for name in (BESIDES, REPAIRED, TAKEN):
        total = sum(log.kept_number(name) for log in logs)
        if total:
            found[name] = str(total)
    if any(log.kept(RESERVED) for log in logs):
        found[RESERVED] = str(sum(log.sent() for log in logs))
    checks = [checked for log in logs if (checked := Checked.read(log)) is not None]
    if checks:
        first = checks[0]
        failed = next((check.failed for check in checks if check.failed is not None), None)
        sessions = tuple(chain.from_iterable(check.sessions for check in checks))
        whole = first.model_copy(update={"others": {}, "failed": failed, "sessions": sessions})
        found[CHECK] = whole.model_dump_json()
    return found


def _merge_visibility(made: Path, parts: Sequence[_Part], note: Callable[[str, str], None]) -> None:
    """Merge JOD and FLIP that this user measured, if all shards were measured in the same way."""
    joined: dict[tuple[str, float], Kept] = {}
    differing = False
    for part in parts:
        for kept in Measurements.read(part.run.home).measured:
            there = joined.setdefault((kept.display, kept.distance), kept)
            if there.versions != kept.versions:
                differing = True
            elif there is not kept:
                there.images.update(kept.images)
    if differing:
        note(
            VISIBILITY,
            "shards were measured with different versions; 'iqattack evaluate' measures again",
        )
        return
    found = Measurements()
    for kept in joined.values():
        found = found.with_(kept)
    if joined:
        found.write(made)


def _export(run: Run, parts: Sequence[_Part]) -> None:
    """Write results.csv, and summary.json if an image is finished."""
    entries: dict[str, ImageEntry] = {}
    for part in parts:
        with suppress(
            RunError
        ):  # everything except the opinion scores of failed images is in the log
            failed = read_failures(part.run.home / "results.csv").values()
            entries |= {row.image: ImageEntry(row.image, Path(row.path), row.mos) for row in failed}
    results, pending = run.state(entries)
    results, seen = known(run, results)
    run.write_results(results)
    if all(result.failed for result in results):
        return
    run.write_summary(
        summarise(
            run.record,
            results,
            pending,
            check=run.check,
            nonfinite=run.nonfinite,
            visibility=seen,
        )
    )
