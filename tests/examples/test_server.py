"""examples/server.py as a user would start it, with examples/server.toml."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch

import iqattack
from iqattack.errors import InputError
from iqattack.models.services.described import load_toml
from iqattack.models.services.http import load_http

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGES = torch.randint(256, (3, 3, 70, 80), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, str(EXAMPLES / "server.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture(scope="module")
def wanted():
    return torch.as_tensor(iqattack.load_model("builtin")(IMAGES)).tolist()


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ("/score", 3),
        ("/upload#image=multipart:file", 3),
        ("/batch#image=json:images.*&batch=2", 2),
    ],
)
def test_each_endpoint_gives_the_model_s_scores(url, wanted, options, requests):
    scorer = load_http(url + options)
    assert scorer(IMAGES) == wanted
    assert scorer.requests == requests


def test_the_description_fits_the_server(url, wanted, tmp_path):
    text = (EXAMPLES / "server.toml").read_text("utf-8")
    assert "http://127.0.0.1:8000/" in text
    path = tmp_path / "server.toml"
    path.write_text(text.replace("http://127.0.0.1:8000", url), "utf-8")
    scorer, model = load_toml(path), iqattack.load_model("builtin")
    assert scorer(IMAGES) == wanted
    assert scorer.score_range == model.score_range
    assert scorer.lower_better == model.lower_better
    assert scorer.min_size == model.min_size


@pytest.mark.parametrize(
    ("path", "sent", "said"),
    [
        ("/score", {"content": b"no picture"}, "not a picture"),
        ("/upload", {"files": {"file": b"no picture"}}, "not a picture"),
        ("/batch", {"json": {"images": ["?"]}}, "not base64"),
        ("/batch", {"json": {"images": ["aGVsbG8="]}}, "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused(url, path, sent, said):
    answer = httpx.post(url + path, trust_env=False, **sent)
    assert answer.status_code == 422
    assert said in answer.text


def test_a_picture_that_is_too_small(url):
    with pytest.raises(InputError, match=r"answered 422 .* is too small"):
        load_http(url + "/score")(IMAGES[:1, :, :20, :20])
