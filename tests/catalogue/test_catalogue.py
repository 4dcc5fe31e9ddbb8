"""What the catalogue says is held to the code that it speaks of."""

import pytest

from iqattack.attacks import ATTACKS, load_attack
from iqattack.attacks.options import forms
from iqattack.catalogue import attacks, models
from iqattack.constraints import parse_constraint
from iqattack.models import loading


def test_every_attack_of_the_catalogue_is_in_the_table_with_its_options():
    assert list(ATTACKS) == list(attacks.ATTACKS)
    for name, text in attacks.ATTACKS.items():
        assert list(text.options) == list(ATTACKS[name].options), name
        assert text.about.endswith("."), name


def test_threat_models_are_those_of_the_functions():
    access = {name: text.access for name, text in attacks.ATTACKS.items()}
    white = {name for name, kind in ATTACKS.items() if kind.white_box}
    assert {name for name, reported in access.items() if reported == attacks.WHITE_BOX} == white
    # One with a score boundary among its options is decision-based, and no other.
    crossing = {name for name, text in attacks.ATTACKS.items() if "boundary" in text.options}
    assert {name for name, reported in access.items() if reported == attacks.CROSSED} == crossing


def test_constraints_of_the_catalogue_are_constraints():
    named = {text.constraint for text in attacks.ATTACKS.values()} - {None}
    assert named == {"l0:500", "none"}
    assert all(parse_constraint(constraint) for constraint in named)


def test_every_kind_of_model_has_a_loader():
    there = {*loading.NAMED.values(), loading.HTTP, loading.TOML, loading.FILE, loading.MODULE}
    assert {kind.text.name for kind in there} | {"defended"} == set(models.MODELS)
    assert loading.load_model(models.MODELS["defended"].spec).name.startswith("builtin, defended")
    assert tuple(loading.NAMED) == models.NAMED
    for name, kind in loading.NAMED.items():
        assert kind.text.name == name


@pytest.mark.parametrize("name", ATTACKS)
def test_defaults_are_printed_as_the_command_line_takes_them(name):
    """But for a folder of the package, which is not given by its path."""
    for form in forms(ATTACKS[name].function):
        if form.default != "built in":
            load_attack(f"{name}:{form.name}={form.default}")
            assert form.type, form
