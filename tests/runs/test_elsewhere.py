"""What another machine may not have otherwise than the one that a run was started on."""

import socket

import pytest

from iqattack.errors import InputError
from iqattack.models import load_model
from iqattack.runs.elsewhere import differences, named
from iqattack.runs.settings import Record, Settings

NODE = f"node {socket.gethostname()}"
MODEL = """
import pathlib
def load():
    score = lambda images: images.double().mean((1, 2, 3))
    score.score_range, score.lower_better = (0.0, 255.0), False
    score.files = [pathlib.Path(__file__).with_name("weights")]
    return score
"""


@pytest.fixture
def begun(tmp_path):
    """The spec of a model, and a run of it as it begins here."""
    (tmp_path / "weights").write_text("1")
    (tmp_path / "model.py").write_text(MODEL)
    spec = f"{tmp_path / 'model.py'}:load"
    return spec, Record.now(Settings(images=("/photos",), model=spec), load_model(spec))


def test_the_same_model_and_versions_are_nothing_to_say(begun):
    spec, record = begun
    assert differences(record, load_model(spec)) == ()


def test_other_versions_are_said(begun):
    spec, record = begun
    there = record.model_copy(update={"versions": record.versions | {"torch": "1.0", "odd": "2"}})
    (phrase,) = differences(there, load_model(spec))
    assert phrase.startswith(f"{NODE} has torch {record.versions['torch']} instead of 1.0: ")


def test_another_file_is_an_error_that_names_node_and_file(begun, tmp_path):
    spec, record = begun
    (tmp_path / "weights").write_text("2")
    with pytest.raises(InputError) as caught, named():
        differences(record, load_model(spec))
    assert str(caught.value).startswith(
        f"{NODE}: the model's file {tmp_path / 'weights'} has other contents here than where the "
        "run was started; nodes need the same files at the same paths"
    )


def test_a_file_that_is_not_there_names_the_node(begun, tmp_path):
    spec, _ = begun
    (tmp_path / "model.py").unlink()
    with pytest.raises(InputError, match=rf"{NODE}: .*model\.py': no such file"), named():
        load_model(spec)
