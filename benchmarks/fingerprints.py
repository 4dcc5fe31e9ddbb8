"""Fingerprints of measured rows: a hash of the code on which a row depends.

It covers the attack and everything that it imports from `attacks/`, `directions/` and
`perception/`, its box, SSIM, weights and profiles that this project makes, and synthetic models of
a benchmark; but not the engine and the real models, which the tests compare with published values.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from common import ROOT
from iqattack.attacks import ATTACKS
from iqattack.constraints import parse_constraint
from scorers import MADE_UP, substitute

PACKAGE = ROOT / "src" / "iqattack"
FOLLOWED = ("attacks", "constraints", "directions", "perception")
CONTRACT = ("contract", "options")  # of attacks: how one is called, not what it does
MEASURE = PACKAGE / "perception" / "similarity.py"
WEIGHTS = PACKAGE / "models" / "builtin.safetensors"
MAX_POOLING = "benchmarks/max_pooling.py:max_pooling"  # a spec, from the repository's root

Documented = ast.Module | ast.FunctionDef | ast.ClassDef


def without_docstrings(source: str) -> ast.Module:
    """The syntax tree of a file, docstrings emptied."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return tree


def text(tree: object) -> str:
    """A syntax tree in one line, without empty fields, so that it is the same in every Python.

    Imports are left out: the imported code is followed, and may move to another file.
    """
    if isinstance(tree, list):
        tree = [node for node in tree if not isinstance(node, ast.Import | ast.ImportFrom)]
    if isinstance(tree, ast.AST):
        held = ((name, value) for name, value in ast.iter_fields(tree) if value not in (None, []))
        inside = ", ".join(f"{name}={text(value)}" for name, value in held)
        return f"{type(tree).__name__}({inside})"
    if isinstance(tree, list):
        return f"[{', '.join(map(text, tree))}]"
    return repr(tree)


def texts(trees: Iterable[object]) -> bytes:
    """Several of them, in an order that does not depend on where their files are."""
    return "".join(sorted(map(text, trees))).encode()


def attack_file(attack: str) -> Path:
    """Where the function of an attack is, of its spec."""
    return Path(inspect.getfile(ATTACKS[attack.partition(":")[0]].function))


def modules(*files: Path) -> dict[Path, ast.Module]:
    """These files and all that they import from the followed packages, as syntax trees."""
    found: dict[Path, ast.Module] = {}
    todo = list(reversed(files))
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = without_docstrings(path.read_text(encoding="utf-8"))
        imports = (n for n in ast.walk(found[path]) if isinstance(n, ast.ImportFrom))
        for node in imports:
            match (node.module or "").split("."):
                case ["iqattack", package, *inner, name] if package in FOLLOWED:
                    if name not in CONTRACT:
                        todo.append(PACKAGE.joinpath(package, *inner, f"{name}.py"))
                case ["iqattack", package] if package in FOLLOWED:
                    todo += [exported_from(package)[alias.name] for alias in node.names]
    return found


@cache
def exported_from(package: str) -> dict[str, Path]:
    """The file of each name that a package exports."""
    folder = PACKAGE / package
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: folder / f"{node.module.split('.')[-1]}.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def takes_gradients(attack: str) -> bool:
    """Whether it takes those of a substitute."""
    return "substitute=" in attack or attack.startswith("transfer")


@cache
def fingerprint(attack: str, model: str, box: str) -> str:
    """A hash of the code behind a row, without comments and docstrings."""
    trees = modules(
        attack_file(attack), Path(inspect.getfile(type(parse_constraint(box)))), MEASURE
    )
    if model in MADE_UP:
        own = Path(__file__).with_name("scorers.py")
        trees[own] = without_docstrings(own.read_text(encoding="utf-8"))
    parts = [texts(trees.values())]
    if model == "builtin" or (takes_gradients(attack) and substitute(model) == "builtin"):
        parts.append(WEIGHTS.read_bytes())
    if model == MAX_POOLING:
        own = ROOT / MAX_POOLING.partition(":")[0]
        parts += [own.read_bytes(), own.with_suffix(".safetensors").read_bytes()]
    _, given, file = attack.partition("profile=")
    if given and (ROOT / file).is_file():
        parts.append((ROOT / file).read_bytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]
