import hashlib
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from iqattack.images import ImageSet
from iqattack.models import wrap
from iqattack.runs import Run, execute, summary_at
from iqattack.runs.schema import summary_schema

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "summary.schema.json"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_schema_is_what_the_model_gives():
    committed = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert committed == summary_schema(), "run `make schema`"


@pytest.mark.parametrize("mos", [False, True])
def test_a_runs_summary_is_valid(tmp_path, settings, brightness, images, validator, mos):
    if mos:
        images = ImageSet(tuple(replace(entry, mos=k / 2) for k, entry in enumerate(images)))
    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness)
    text = (run.folder / "summary.json").read_text()
    summary = json.loads(text)
    validator.validate(summary)
    assert (summary["scores"]["drops"] is not None) == mos
    validator.validate(json.loads(summary_at(run, 3).model_dump_json()))
    # And the schema is not one that anything passes.
    for broken in ({**summary, "gain": 1}, {**summary, "hashes": {"a.png": 3}}, {}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(broken)


def test_a_summary_full_of_nan_is_valid(tmp_path, settings, images, validator):
    scorer = wrap(lambda batch: [7.0] * len(batch), score_range=(0, 9), lower_better=True)
    with Run.create(tmp_path / "run", settings(), scorer) as run:
        execute(run, images, scorer)
    summary = json.loads((run.folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["scores"]["minmax_on_clean"]["r"] is None
    validator.validate(summary)


def test_what_is_needed_to_make_the_run_again(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(seed=5), brightness) as run:
        execute(run, images, brightness)
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["settings"]["seed"] == 5
    assert summary["settings"]["images"] == list(run.settings.images)
    for name in ("iqattack", "torch", "numpy", "scipy", "pillow", "opencv", "python", "platform"):
        assert summary["versions"][name]
    assert summary["hashes"] == {
        entry.name: hashlib.sha256(Image.open(entry.path).tobytes()).hexdigest() for entry in images
    }
