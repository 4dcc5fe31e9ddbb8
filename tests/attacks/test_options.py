from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from torch import Tensor

from iqattack.attacks import ATTACKS, is_of_set, load_attack, load_set_attack
from iqattack.attacks.options import Count, Fraction
from iqattack.errors import InputError
from iqattack.options import defaults, parse_options


def example(
    task,
    share: Fraction = 0.5,
    tries: Count = 3,
    fast: bool = True,
    kind: Literal["a", "b"] = "a",
    kinds: tuple[Literal["a", "b"], ...] = ("a",),
    folder: Path = Path(),
) -> None:
    """An attack's signature with an option of each type."""


def parse(given: str) -> dict[str, object]:
    return parse_options("example", example, given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", {}),
        ("share=0.25", {"share": 0.25}),
        ("share=1", {"share": 1.0}),
        ("tries=0", {"tries": 0}),
        ("fast=false", {"fast": False}),
        ("fast=yes", {"fast": True}),
        ("kind=b", {"kind": "b"}),
        ("kinds=a", {"kinds": ("a",)}),
        ("kinds=b+a", {"kinds": ("b", "a")}),
        ("folder=some/where=else", {"folder": Path("some/where=else")}),
        ("tries=7,kind=b,", {"tries": 7, "kind": "b"}),
    ],
)
def test_values_of_each_type(given, expected) -> None:
    found = parse(given)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("trys=3", "unknown option of example 'trys': did you mean 'tries'"),
        ("task=1", "unknown option of example 'task'"),
        ("zzz", "available: fast, folder, kind, kinds, share, tries"),
        ("tries", "option 'tries' has no value, expected tries=VALUE"),
        ("tries=", "option tries=: .*valid integer"),
        ("tries=1.5", "option tries=1.5: .*valid integer"),
        ("tries=-1", "option tries=-1: .*greater than or equal to 0"),
        ("share=0", "option share=0: .*greater than 0"),
        ("share=1.01", "option share=1.01: .*less than or equal to 1"),
        ("share=nan", "option share=nan: "),
        ("share=half", "option share=half: .*valid number"),
        ("fast=perhaps", "option fast=perhaps: .*valid boolean"),
        ("kind=c", "option kind=c: .*'a' or 'b'"),
        ("kinds=a+c", r"option kinds=a\+c: .*'a' or 'b'"),
        ("kinds=", "option kinds=: .*'a' or 'b'"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(given, message) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse(given)
    assert "example" in str(error.value)
    assert "\n" not in str(error.value)


def test_defaults_are_those_of_the_signature_without_the_task() -> None:
    assert defaults(example) == {
        "share": 0.5,
        "tries": 3,
        "fast": True,
        "kind": "a",
        "kinds": ("a",),
        "folder": Path(),
    }


def without_annotations(
    task, tries=3, share=0.5, fast=True, folder=Path(), kinds=(1, 2), other=None
):
    """The types are those of the defaults."""


def test_without_an_annotation_the_default_says_what_is_allowed() -> None:
    given = "tries=4,share=1,fast=no,folder=x,kinds=3+4,other=5"
    assert parse_options("example", without_annotations, given) == {
        "tries": 4,
        "share": 1.0,
        "fast": False,
        "folder": Path("x"),
        "kinds": (3, 4),
        "other": "5",
    }
    with pytest.raises(InputError, match=r"tries=1.5: .*valid integer"):
        parse_options("example", without_annotations, "tries=1.5")


def odd(task, numbers: list[int] = [], table: Tensor | None = None):  # noqa: B006
    """Options of other types."""


def test_lists_and_types_that_have_no_text_form() -> None:
    assert parse_options("odd", odd, "numbers=1+2,table=none") == {"numbers": [1, 2], "table": None}
    with pytest.raises(InputError, match="odd: option table=x: cannot be given as text: "):
        parse_options("odd", odd, "table=x")


def as_text(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_the_defaults_of_each_attack_read_back(name) -> None:
    options = ATTACKS[name].options
    spec = ",".join(f"{option}={as_text(value)}" for option, value in options.items())
    load = load_set_attack if is_of_set(name) else load_attack
    attack = load(f"{name}:{spec}")
    assert isinstance(attack, partial)
    assert attack.keywords == options


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("score_boundary", "unknown attack 'score_boundary': did you mean 'score-boundary'"),
        ("", "unknown attack ''"),
        ("noise:kin=both", "unknown option of noise 'kin': did you mean 'kind'"),
        ("surfree:boundary=2", "surfree: option boundary=2: "),
        ("score-boundary:amplitudes=1+nan", "option amplitudes=1.nan: .*finite"),
        ("score-boundary:amplitudes=inf", "option amplitudes=inf: .*finite"),
        ("score-boundary:supports=edge", "score-boundary: option supports=edge: .*'edges'"),
    ],
)
def test_attacks_that_do_not_exist_are_refused(spec, message) -> None:
    with pytest.raises(InputError, match=message):
        load_attack(spec)


def test_a_folder_of_textures_is_looked_at_before_anything_is_scored(tmp_path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_attack(f"score-boundary:textures={tmp_path / 'absent'}")
    with pytest.raises(InputError, match="no images in this folder"):
        load_attack(f"score-boundary:textures={tmp_path}")
    (tmp_path / "x.png").write_bytes(b"PNG")
    with pytest.raises(InputError, match=r"x\.png: is not a readable image"):
        load_attack(f"score-boundary:textures={tmp_path}")
