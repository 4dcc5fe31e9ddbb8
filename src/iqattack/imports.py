"""Import objects from users' files or modules: `FILE.py:name`, `package.module:name`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from iqattack.errors import InputError, one_line, unknown
from iqattack.paths import why_no_file


@dataclass(frozen=True)
class Imported:
    """An imported object. spec: its name with an absolute path; file: the file with its code."""

    value: Any
    spec: str
    file: Path | None


def import_named(kind: str, source: str, name: str) -> Imported:
    """Import `name` from a file or module.

    kind: what it should be, for messages. Raises InputError for a file or module that does not
    exist or cannot be imported, and for a name that it does not have.
    """
    from_file = source.endswith(".py")
    module = _import_file(kind, Path(source)) if from_file else _import_module(kind, source)
    if not hasattr(module, name):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        what = "factory" if kind == "model" else kind
        if names:
            raise unknown(f"{what} in '{source}'", name, names)
        raise InputError(f"'{source}' has neither '{name}' nor anything else that is callable")
    file = _file(module)
    spec = f"{file}:{name}" if from_file else f"{source}:{name}"
    return Imported(getattr(module, name), spec, file)


def file_of(function: object) -> Path | None:
    """The Python file that defines a function or class."""
    return _file(sys.modules.get(getattr(function, "__module__", None) or ""))


def _file(module: ModuleType | None) -> Path | None:
    path = getattr(module, "__file__", None)
    return absolute(path) if path and path.endswith(".py") else None


def absolute(path: str | Path) -> Path:
    """An absolute path without `..`, but with its links unresolved, as the user wrote it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def looks_imported(spec: str) -> bool:
    """Whether a spec has one of these forms, rather than being a name with options."""
    source, colon, _ = spec.partition(":")
    return bool(colon) and (source.endswith(".py") or "." in source)


def split(spec: str) -> tuple[str, str]:
    """Name and options of a spec of an attack or a defence, as text alone."""
    name, _, given = spec.partition(":")
    function, _, rest = given.partition(":")
    if looks_imported(spec) and "=" not in function:
        return f"{name}:{function}", rest
    return name, given


def option_texts(given: str) -> dict[str, str]:
    """The options of an attack or a defence by name, as text alone."""
    return dict(part.split("=", 1) for part in given.split(",") if "=" in part)


def _import_file(kind: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(
            f"{kind} file '{path}': {why_no_file(path)}; expected FILE.py:{_example(kind)}"
        )
    path = absolute(path)
    # Modules beside it can be imported, as when Python runs the file.
    _search(path.parent)
    # Files of the same name in different folders are different modules.
    name = f"iqattack_{kind}_{path.stem}_{sha256(os.fsencode(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(
            f"{kind} file '{path}': not a Python file; expected FILE.py:{_example(kind)}"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"{kind} file '{path}' cannot be imported: {one_line(error)}") from error
    return module


def _import_module(kind: str, name: str) -> ModuleType:
    if name == "__main__":  # it differs in another process
        raise InputError(
            f"{kind} module '__main__' is the running script; move the code to a file and give "
            f"FILE.py:{_example(kind)}"
        )
    _search(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{kind} module '{name}' cannot be imported: {one_line(error)};"
            f" expected package.module:{_example(kind)} or FILE.py:{_example(kind)}"
        ) from error


def _example(kind: str) -> str:
    return "factory" if kind == "model" else "name"


def _search(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
