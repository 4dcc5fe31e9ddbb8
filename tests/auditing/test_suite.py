"""Suites that were published do not change, and those of one's own are read with care."""

import json
from pathlib import Path

import pytest

import iqattack
from iqattack.attacks import ATTACKS
from iqattack.auditing import Suite, bundled, read_suite
from iqattack.errors import InputError

# A change of a suite is a new version: these stay as they are, and new ones are added.
PUBLISHED = {
    "quick-v1": "8b638fd369a1e0840240eac07b518219e2ebcd8b81841cc5be2d55fb3979da96",
    "standard-v1": "5d18f24bdf3b92b20d5ab4b2f64f922f7e025b091ee550709567148f09613a5c",
    "yang2024-v1": "1c51e8e9aadb4f0b4dd222518a47ccf10cadff95f38aa023ec436907280dd517",
    "bychkov2025-v1": "d11357ba76ae7122d54e6c671d5743492539a3ca09620fef931d73dc8faaf0f9",
}
# Of their attacks, all defaults.
PACKAGE = str(Path(iqattack.__file__).parent)
OPTIONS = json.loads(Path(__file__).with_name("options.json").read_text())
MINE = {
    "name": "mine",
    "version": 1,
    "about": "Mine.",
    "budgets": [5, 20],
    "attempts": [{"attack": "square", "constraint": "linf:3"}],
}

FIGURE = {
    "model": "dbcnn", "attack": "square", "constraint": "linf:3", "queries": 20,
    "measure": "gain", "value": 0.44, "source": "A. Nonymous, 2024",
}  # fmt: skip


def published(**changes: object) -> str:
    """A line of a suite's file."""
    figure = ", ".join(f"{key} = {value!r}" for key, value in (FIGURE | changes).items())
    return f"published = [{{{figure}}}]"


def test_published_suites_are_what_they_were() -> None:
    found = {f"{name}-v{n}" for name, versions in bundled().items() for n in versions}
    assert found == set(PUBLISHED)
    for name, digest in PUBLISHED.items():
        assert read_suite(name).digest == digest, f"{name}: give it another version"
        assert read_suite(name).id == name


def test_options_that_published_suites_leave_out_are_what_they_were() -> None:
    """A default that changes changes the suite."""
    attempts = (attempt for suite in map(read_suite, PUBLISHED) for attempt in suite.attempts)
    names = {attempt.attack.partition(":")[0] for attempt in attempts}
    assert {name: OPTIONS[name] for name in names} == {
        name: {
            o: str(value).replace(PACKAGE, "iqattack") for o, value in ATTACKS[name].options.items()
        }
        for name in names
    }


def test_a_name_alone_is_the_newest_version() -> None:
    assert read_suite("quick") == read_suite("quick-v1")


def test_the_digest_hangs_on_all_that_decides_a_result() -> None:
    first = Suite.model_validate(MINE)
    others: list[dict[str, object]] = [
        {"name": "other"}, {"version": 2}, {"budgets": [5, 21]}, {"seeds": [1]}, {"limit": 3},
        {"objective": "up"},
        {"attempts": [{"attack": "square:p_init=0.1", "constraint": "linf:3"}]},
        {"attempts": [{"attack": "square", "constraint": "linf:4"}]},
    ]  # fmt: skip
    digests = {Suite.model_validate(MINE | other).digest for other in others} | {first.digest}
    assert len(digests) == len(others) + 1
    assert Suite.model_validate(MINE | {"about": "Another word."}).digest == first.digest
    assert Suite.model_validate(MINE | {"published": [FIGURE]}).digest == first.digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('name = "My suite"', "expected small letters"),
        ("budgets = [20, 5]", "expected ascending numbers"),
        ("budgets = []", "at least 1"),
        ("seeds = [0, 0]", "expected no duplicates"),
        ('objective = "srocc"', "expected rank, up, down or farther"),
        ("extra = 1", "not permitted"),
        ("limit = 0", "greater than or equal to 1"),
        ('attempts = [{attack = "sqare", constraint = "linf:3"}]', "did you mean 'square'"),
        ('attempts = [{attack = "square", constraint = "linf"}]', "linf:3"),
        ("attempts = 3", "attempts"),
        (published(attack="nes"), "nes.*not among the attempts"),
        (published(constraint="linf:4"), "linf:4 is not among the attempts"),
        (published(queries=21), "21 queries is not among the budgets"),
        (published(measure="psnr"), "published.0.measure"),
        ("=", "is not TOML"),
    ],
)
def test_a_wrong_file_says_what_and_where(tmp_path, change, reason) -> None:
    key = change.partition(" ")[0]
    lines = {
        "name": 'name = "mine"', "version": "version = 1", "about": 'about = "Mine."',
        "budgets": "budgets = [5, 20]",
        "attempts": 'attempts = [{attack = "square", constraint = "linf:3"}]',
    }  # fmt: skip
    path = tmp_path / "mine.toml"
    path.write_text("\n".join((lines | {key: change}).values()))
    with pytest.raises(InputError, match=reason) as failed:
        read_suite(str(path))
    assert "mine.toml" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_what_there_is_not() -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        read_suite("quik")
    with pytest.raises(InputError, match="quick-v1"):
        read_suite("quick-v7")
    with pytest.raises(InputError, match="cannot be read"):
        read_suite("absent.toml")
