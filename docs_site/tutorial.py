"""Run what a page of the documentation shows, and put the true output in its place.

`python -m docs_site.tutorial` does so with docs/tutorial.md; a test compares. A block of Python
with a title is a file. A `console` block has commands after `$`, each followed by what it prints to
standard output; a `pycon` block is a session of Python. All run in one folder, one after the other.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(
    r"^```(?P<kind>python|console|pycon)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COLUMNS = 80
# iqattack as installed without extras: what is shown does not depend on what else there is.
WITHOUT = ("cvvdp", "pycvvdp", "flip_evaluator")
PROGRAM = f"""#!{sys.executable}
import sys
sys.modules.update(dict.fromkeys({WITHOUT!r}))
from iqattack.cli import main
sys.exit(main())
"""


def run_page(text: str, folder: Path) -> str:
    """The same page with the output that its blocks have when they run in a folder."""
    programs = folder / ".bin"
    programs.mkdir()
    (programs / "iqattack").write_text(PROGRAM, "utf-8")
    (programs / "iqattack").chmod(0o755)
    names: dict[str, object] = {}

    def run(block: re.Match[str]) -> str:
        kind, title, code = block["kind"], block["title"], block["code"]
        if kind == "python":
            if title is None:
                raise ValueError(f"a block of Python without a title cannot be run:\n{code}")
            (folder / title).write_text(code, "utf-8")
            return block[0]
        shown = _console(code, folder) if kind == "console" else _session(code, folder, names)
        return f"```{kind}\n{shown}```"

    return BLOCK.sub(run, text)


def _console(code: str, folder: Path) -> str:
    """The commands of a block, each with its output."""
    environment = os.environ | {
        "PATH": f"{folder / '.bin'}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(COLUMNS),
        "TERM": "dumb",
    }
    lines = []
    for command in commands_of(code):
        lines += [f"{'>' if k else '$'} {line}" for k, line in enumerate(command.split("\n"))]
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}\nended with {done.returncode}:\n{done.stderr}")
        lines += [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines) + "\n"


def commands_of(code: str) -> list[str]:
    """The commands of a console block; lines after `>` continue one."""
    commands: list[str] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif line.startswith("> ") and commands and commands[-1].endswith("\\"):
            commands[-1] += "\n" + line[2:]
    return commands


def _session(code: str, folder: Path, names: dict[str, object]) -> str:
    """A session of Python with what it prints."""
    lines = []
    with chdir(folder):
        for example in doctest.DocTestParser().get_examples(code):
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(example.source, PAGE.name, "single"), names)
            source = example.source.rstrip("\n").split("\n")
            lines += [f"{'...' if k else '>>>'} {line}" for k, line in enumerate(source)]
            lines += printed.getvalue().splitlines()
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the tutorial with what its commands print now."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(run_page(PAGE.read_text("utf-8"), Path(folder)), "utf-8")


if __name__ == "__main__":
    main()
