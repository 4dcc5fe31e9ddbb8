"""Prose of docstrings becomes lists of parameters and exceptions, and nothing of it is lost."""

import re
from types import SimpleNamespace

import griffe
import pytest

import iqattack
from docs_site.docstrings import Prose, sections


def named(*names):
    return {name: SimpleNamespace(annotation=f"type of {name}") for name in names}


def reported(found):
    """Sections as plain values."""
    values = []
    for section in found:
        if section.kind is griffe.DocstringSectionKind.text:
            values.append(section.value)
        elif section.kind is griffe.DocstringSectionKind.examples:
            values += [session for _, session in section.value]
        elif section.kind is griffe.DocstringSectionKind.raises:
            values.append([(item.annotation, item.description) for item in section.value])
        else:
            values.append({item.name: item.description for item in section.value})
    return values


def test_explanations_at_starts_of_lines_and_after_stops():
    text = """Does it.

one: the first,
    on two lines. two: the second; three:
    `the` third.
four, five: both. They are alike.
"""
    assert reported(sections(text, named("one", "two", "three", "four", "five"))) == [
        "Does it.",
        {
            "one": "the first, on two lines.",
            "two": "the second",
            "three": "`the` third.",
            "four, five": "both. They are alike.",
        },
    ]


def test_prose_stays_prose():
    text = "It is in truth: a model. Not named: nothing.\n\nmodel, other: is no list of ours."
    assert reported(sections(text, named("model"))) == text.split("\n\n")


def test_prose_goes_on_after_the_last_explanation():
    text = """Does it.

one: the first, where
    None is none. The rest is as in `attack`.
two: the second.
This is of both. Raises InputError for the first, RunError, at once, where the second is
missing.
"""
    assert reported(sections(text, named("one", "two"))) == [
        "Does it.",
        {"one": "the first, where None is none.", "two": "the second."},
        "The rest is as in [`attack`][iqattack.attack].",
        "This is of both.",
        [("InputError", "for the first"), ("RunError", "at once, where the second is missing.")],
    ]


def test_what_is_raised_at_the_end_of_prose():
    found = reported(sections("It works. Raises InputError for an empty\nrange.", {}))
    assert found == ["It works.", [("InputError", "for an empty range.")]]
    assert reported(sections("Raises the score.", {})) == ["Raises the score."]


def test_a_session_of_python_is_an_example_and_stays_as_it_is():
    session = ">>> model: int = 1\n>>> model  # `attack`\n1"
    found = sections(f"It works.\n\n{session}\n", named("model"))
    assert [section.kind.value for section in found] == ["text", "examples"]
    assert reported(found) == ["It works.", session]


def test_names_of_the_interface_are_links_but_not_its_own_or_parameters():
    text = "As `attack` and `iqattack.verify()`, not `profile` or `nothing`."
    assert reported(sections(text, named("profile"), own="verify")) == [
        "As [`attack`][iqattack.attack] and `iqattack.verify()`, not `profile` or `nothing`."
    ]
    assert reported(sections("As `iqattack.verify()`.", {})) == [
        "As [`iqattack.verify()`][iqattack.verify]."
    ]


@pytest.fixture(scope="module")
def package():
    return griffe.load("iqattack", extensions=griffe.load_extensions(Prose))


def parameters(thing):
    kinds = (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes)
    return {
        name: item
        for section in thing.docstring.parsed
        if section.kind in kinds
        for item in section.value
        for name in item.name.split(", ")
    }


def test_the_docstring_of_attack(package):
    attack = package["attack"].final_target
    found = parameters(attack)
    assert {"images", "model", "queries", "workers", "concurrency", "pool"} <= found.keys()
    assert {"accept_lost_log", "survey", "device", "autocast"} <= found.keys()
    assert found["gpus_per_worker"].description.startswith("a share such as 0.25")
    assert str(found["queries"].annotation) == "int"
    assert attack.parameters["constraint"].default == "'bands:2.5'"
    errors, example = attack.docstring.parsed[-2:]
    assert errors.kind is griffe.DocstringSectionKind.raises
    assert [item.annotation for item in errors.value] == ["InputError", "RunError"]
    assert example.kind is griffe.DocstringSectionKind.examples


def test_fields_and_parameters_of_init(package):
    assert {"first_s", "longest_s", "retries"} <= parameters(package["Retry"].final_target).keys()
    assert parameters(package["TransientError"].final_target).keys() == {"retry_after", "billed"}
    assert {"gain", "left", "pixels", "end"} == parameters(package["Answer"].final_target).keys()


def test_every_explanation_of_a_parameter_is_found(package):
    for name in set(iqattack.__all__) - {"api", "__version__"}:
        thing = package[name].final_target
        if isinstance(thing, griffe.Function):
            words = set(re.findall(r"(?<![\w`])(\w+):\s", thing.docstring.value))
            known = {item.name.lstrip("*") for item in thing.parameters}
            assert words & known <= parameters(thing).keys(), name


def test_no_word_is_lost(package):
    for name in set(iqattack.__all__) - {"api", "__version__"}:
        thing = package[name].final_target
        shown = " ".join(
            str(part)
            for section in reported(thing.docstring.parsed)
            for part in (
                [section]
                if isinstance(section, str)
                else [f"{key} {value}" for key, value in dict(section).items()]
            )
        )
        for word in ("`", ":", ";", ",", "[", "]", "(", ")", "."):
            shown = shown.replace(word, " ")
        words = thing.docstring.value
        for word in ("`", ":", ";", ",", "[", "]", "(", ")", "."):
            words = words.replace(word, " ")
        missing = set(words.split()) - set(shown.split()) - {"Raises", "and"}
        assert not missing, name
