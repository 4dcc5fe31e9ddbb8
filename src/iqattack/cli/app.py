"""The program `iqattack`: its commands and its error handling."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated

import typer

from iqattack.cli.apply import apply
from iqattack.cli.attack import attack
from iqattack.cli.audit import audit
from iqattack.cli.check import check
from iqattack.cli.compare import compare
from iqattack.cli.defended import defended
from iqattack.cli.demo import demo
from iqattack.cli.detect import detect
from iqattack.cli.evaluate import evaluate
from iqattack.cli.export import export
from iqattack.cli.interrupts import INTERRUPTED
from iqattack.cli.leaderboard import leaderboard
from iqattack.cli.lists import attacks, defences, models
from iqattack.cli.merge import merge
from iqattack.cli.once import OnceCommand
from iqattack.cli.plot import plot
from iqattack.cli.probe import probe
from iqattack.cli.profile import profile
from iqattack.cli.report import report
from iqattack.cli.rescore import rescore
from iqattack.cli.samples import samples
from iqattack.cli.survey import survey
from iqattack.cli.universal import universal
from iqattack.cli.verify import verify
from iqattack.errors import IqattackError
from iqattack.memory import keep_freed_memory
from iqattack.specs import printable
from iqattack.version import __version__

app = typer.Typer(
    name="iqattack",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with [bold]iqattack demo[/bold]; every command explains itself with --help.",
)
for command, panel, examples in (
    (
        attack,
        "Attack",
        (
            "iqattack attack photos/ --model cnniqa:weights.pth --queries 1000 --out runs/photos",
            "iqattack attack koniq/*.jpg --mos koniq10k_scores.csv --model pyiqa:musiq "
            "--constraint linf:3 --out runs/musiq",
            "iqattack attack photos/ --model mymodel.py:load --score-range -1,1 "
            "--no-lower-better --attack noise --out runs/mine",
        ),
    ),
    (
        audit,
        "Attack",
        (
            "iqattack audit builtin --suite quick --out audits/builtin",
            "iqattack audit mymodel.py:load photos/ --policy policy.toml --out audits/mine",
        ),
    ),
    (
        probe,
        "Attack",
        (
            "iqattack probe builtin",
            "iqattack probe mymodel.py:load photos/ --input float01 --queries 100",
        ),
    ),
    (
        profile,
        "Attack",
        (
            "iqattack profile cnniqa:weights.pth some/*.png --out profiles/cnniqa",
            "iqattack attack others/ --model cnniqa:weights.pth --queries 50 "
            "--attack filter-search:profile=profiles/cnniqa/profile.json --out runs/profiled",
        ),
    ),
    (
        universal,
        "Attack",
        (
            "iqattack universal some/*.png --model cnniqa:weights.pth --out universals/cnniqa",
            "iqattack attack others/ --model cnniqa:weights.pth --queries 9 "
            "--attack universal:file=universals/cnniqa/perturbation.safetensors,k=8 "
            "--out runs/universal",
        ),
    ),
    (
        apply,
        "Attack",
        ("iqattack apply universals/cnniqa others/ --direction up --out changed",),
    ),
    (
        survey,
        "On several machines",
        (
            "iqattack survey photos/ --model musiq.py:load --out survey.json",
            "iqattack attack photos/ --model musiq.py:load --survey survey.json --shard 3/16 "
            "--out shards/3",
        ),
    ),
    (
        merge,
        "On several machines",
        ("iqattack merge shards/* --out runs/photos",),
    ),
    (
        evaluate,
        "Look at a run",
        ("iqattack evaluate runs/photos", "iqattack evaluate runs/photos --queries 100"),
    ),
    (
        compare,
        "Look at a run",
        (
            "iqattack compare runs/square runs/nes",
            "iqattack compare runs/cnniqa runs/musiq --format latex",
            "iqattack compare runs/long runs/short --queries 100",
        ),
    ),
    (report, "Look at a run", ("iqattack report runs/photos",)),
    (
        plot,
        "Look at a run",
        (
            "iqattack plot runs/square runs/nes --out gain.pdf",
            "iqattack plot audits/builtin --kind ssim --columns 2 --out ssim.pdf",
            "iqattack plot runs/square --kind crossing --boundary 0.1 --out crossing.svg",
        ),
    ),
    (
        defended,
        "Look at a run",
        (
            "iqattack defended runs/photos --defence jpeg:75",
            "iqattack defended runs/photos --defence jpeg:75 --adaptive runs/jpeg",
        ),
    ),
    (
        detect,
        "Look at a run",
        (
            "iqattack detect runs/square",
            "iqattack detect runs/square --detector blacklight:window=20 --accounts image",
        ),
    ),
    (export, "Look at a run", ("iqattack export runs/photos --webdataset shards/photos",)),
    (verify, "Look at a run", ("iqattack verify runs/photos",)),
    (rescore, "Look at a run", ("iqattack rescore runs/noisy --times 8",)),
    (
        check,
        "Audited models",
        (
            "iqattack check audits/builtin",
            "iqattack check audits/builtin --model builtin --sample 3 --json check.json",
        ),
    ),
    (
        leaderboard,
        "Audited models",
        ("iqattack leaderboard audits/* --out site",),
    ),
    (attacks, "Lists", ("iqattack attacks", "iqattack attacks filter-search")),
    (models, "Lists", ("iqattack models", "iqattack models builtin")),
    (
        defences,
        "Lists",
        (
            "iqattack defences",
            "iqattack attack photos/ --model builtin --defence jpeg:75+median:3 --out runs/behind",
        ),
    ),
    (
        samples,
        "Attack",
        (
            "iqattack samples photos",
            "iqattack attack photos --mos photos/mos.csv --model builtin --queries 500 --out run",
        ),
    ),
    (demo, "Attack", ("iqattack demo --out /tmp/demo",)),
):
    # A blank line apart: the help joins lines of one paragraph.
    epilog = "\n\n".join(["[bold]Examples[/bold]", *examples]) if examples else None
    app.command(cls=OnceCommand, rich_help_panel=panel, epilog=epilog)(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iqattack {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """How far can the score of an image quality model be moved by changes that are hard to see?

    Query-based black-box attacks on no-reference image quality models.
    """


def _keep_output_apart() -> None:
    """Send what a model's compiled code and subprocesses print to standard error.

    `isolation` does the same for what Python prints.
    """
    with suppress(OSError, ValueError, AttributeError):  # closed, or not a file
        old = sys.stdout
        old.flush()
        own = os.dup(old.fileno())
        os.dup2(sys.stderr.fileno(), old.fileno())
        sys.stdout = open(  # noqa: PTH123, SIM115 - to the end of the process
            own, "w", encoding=old.encoding, errors=old.errors, buffering=1 if old.isatty() else -1
        )


def run(args: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status, as `cli.main` describes them."""
    keep_freed_memory()
    if args is None:
        _keep_output_apart()
    # Pillow warns about odd metadata and large images; what matters ends in an error or a note.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    for name in (
        "PIL",
        "filelock",
    ):  # else a model that logs all prints theirs
        logging.getLogger(name).setLevel(logging.WARNING)
    if isinstance(sys.stdout, TextIOWrapper):  # not every encoding has all marks of tables
        sys.stdout.reconfigure(errors="replace")
    try:
        status = _called(args)
        sys.stdout.flush()  # here, since errors at the end of the process are not reported
    except BrokenPipeError:  # the reader went away
        _give_up_output()
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except IqattackError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return error.exit_status
    except OSError as error:  # a path that cannot be read, or a full disk
        if error.filename is not None:
            message = f"{error.filename}: {error.strerror}; check the path"
        elif error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG):
            message = f"output cannot be written ({error.strerror}); free some space"
        else:
            raise
        print(f"error: {printable(message)}", file=sys.stderr)
        _give_up_output()
        return IqattackError.exit_status
    return status


def _called(args: Sequence[str] | None) -> int:
    """Run the program and return its exit status."""
    try:
        app(args=None if args is None else list(args), prog_name="iqattack")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _give_up_output() -> None:
    """Drop unwritten output, which Python would otherwise try to flush again at exit."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or not a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.stdout.flush()
