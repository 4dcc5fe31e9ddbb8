"""FILE.toml: what is read, what is refused and how; paths into JSON."""

import sys

import pytest

from iqattack.errors import InputError
from iqattack.models.inputs import Input
from iqattack.models.services.command import OneShot
from iqattack.models.services.described import load_toml, read_settings
from iqattack.models.services.http import Http
from iqattack.models.services.json_paths import PathError, find, placed
from iqattack.models.services.settings import CommandSettings, HttpSettings

URL = 'url = "http://127.0.0.1:9/score"\n'


def write(folder, text, name="model.toml"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def refused(folder, text):
    with pytest.raises(InputError) as caught:
        load_toml(write(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "")


def test_a_service(tmp_path):
    path = write(
        tmp_path,
        URL
        + 'name = "mine"\nscore_range = [1, 5]\nlower_better = true\nmin_size = 48\n'
        + 'input = "size=32,grey"\nconcurrency = 3\nrate = 2.5\nprice = 0.01\ntimeout = 5\n',
    )
    model = load_toml(path)
    assert isinstance(model, Http)
    assert (model.name, model.score_range, model.lower_better) == ("mine", (1.0, 5.0), True)
    assert (model.min_size, model.concurrency, model.rate, model.price) == (48, 3, 2.5, 0.01)
    assert (model.spec, model.files, model.batch) == (str(path), (path,), 1)


def test_what_is_given_goes_before_the_file(tmp_path):
    path = write(tmp_path, URL + 'input = "size=32,grey"\ntimeout = 5\n')
    model = load_toml(path, convention=Input.parse("size=64"), timeout=2.0)
    assert isinstance(model, Http)
    assert model._convention == Input.parse("size=64,grey")
    assert model._timeout == 2.0


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    write(tmp_path, URL)
    monkeypatch.chdir(tmp_path)
    model = load_toml("model.toml")
    assert isinstance(model, Http)
    assert model.spec == str(tmp_path / "model.toml")
    assert model.files == (tmp_path / "model.toml",)


def test_a_command_s_files_are_relative_to_the_file(tmp_path):
    write(tmp_path, "", "scorer.py")
    write(tmp_path, "", "python")
    path = write(
        tmp_path,
        'command = ["python", "scorer.py", "--fast", "none.py"]\nfiles = ["scorer.py"]\n'
        'score = "(.*)"\nimage = "argument"\n',
    )
    settings = read_settings(path)
    assert isinstance(settings, CommandSettings)
    scorer = str(tmp_path / "scorer.py")
    assert settings.command == ["python", scorer, "--fast", "none.py"]
    assert [str(file) for file in settings.files] == [scorer]


def test_a_command_is_loaded_from_the_file(tmp_path):
    write(tmp_path, "print(41.5)", "scorer.py")
    path = write(
        tmp_path,
        f'command = ["{sys.executable}", "scorer.py", "{{image}}"]\nimage = "argument"\n'
        'files = ["scorer.py"]\nname = "mine"\nscore_range = [0, 100]\nlower_better = false\n',
    )
    model = load_toml(path)
    assert isinstance(model, OneShot)
    assert (model.name, model.spec) == ("mine", str(path))
    assert model.files == (path, tmp_path / "scorer.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected either url or command"),
        (URL + 'command = ["x"]', "expected either url or command"),
        (URL + "scroe = 'x'", "unknown key of '/model.toml': 'scroe': did you mean 'score'?"),
        ("command = []", "/model.toml: command = []: "),
        ("command = ['x']\nurls = 1", "unknown key of '/model.toml': 'urls'"),
        ("command = ['x']\nfiles = ['gone.bin']", "files: no such file: '/gone.bin'"),
        ("command = ['x']\nfiles = ['.']", "files: is a folder: '"),
        (URL + "concurrency = 0", "/model.toml: concurrency = 0: expected greater than"),
        (URL + "concurrency = 'many'", "concurrency = 'many': expected a valid integer"),
        (URL + "batch = 4", "batch needs image = multipart:FIELD, or a json:PATH with a *"),
        (URL + "rate = 0", "rate = 0: expected greater than 0"),
        (
            URL + "rate = 1e-300",
            "rate = 1e-300: expected requests per second, at least one per day",
        ),
        (URL + "timeout = 1e300", "timeout = 1e+300: expected seconds, at most a day (86400)"),
        (URL + "batch = 10000000000000", "expected less than or equal to 4096"),
        (URL + "concurrency = 1000", "concurrency = 1000: expected less than or equal to 256"),
        (URL + "timeout = inf", "timeout = inf: expected a finite number"),
        (URL + "price = -1", "price = -1: expected greater than or equal to 0"),
        (URL + "method = 'GET'", "method = 'GET': expected 'POST', 'PUT' or 'PATCH'"),
        (URL + "image = 'form:x'", "image = 'form:x': expected raw, multipart:FIELD, json:PATH or"),
        (URL + "score_range = [5, 1]", "expected two finite numbers, the lower first"),
        (URL + "score_range = 5", "score_range = 5: expected a valid tuple"),
        (URL + "pattern = '('", "pattern '(' is not a regular expression"),
        (URL + r"pattern = '\d+'", "has 0 groups: expected one, ( )"),
        (URL + "body = {a = 1}", "body needs image = multipart:FIELD"),
        (URL + "input = 'size=big'", "--input size=big"),
        (URL + "input = 'float01'", "a service receives 8-bit pictures"),
        (URL + "url = 1", "is not TOML: Cannot overwrite a value"),
        ("url = 'ftp://x/y'", "url: expected http://HOST:PORT/PATH"),
        ("url = 'http://x/y#score=z'", "url: expected http://HOST:PORT/PATH or https://…, without"),
        ("url = 'http://x:port/'", "/model.toml: url: Invalid port"),
        (
            URL + "image = 'json:inputs.1'",
            "body and image json:inputs.1: no element 1 in a list of",
        ),
        (URL + "image = 'json:a.b'\nbody = {a = 'x'}", "no 'b' in a string"),
        (URL + "image = 'json:a'\nbody = {b = 1979-05-27}", "not JSON serializable"),
    ],
)
def test_a_wrong_file_is_refused_on_one_line(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml': no such file or directory"):
        load_toml(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is a directory"):
        load_toml(tmp_path)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "model.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text in UTF-8"):
        load_toml(path)


def test_defaults():
    settings = HttpSettings.of({"url": "http://x"}, "x")
    assert (settings.method, settings.image, settings.batch) == ("POST", "raw", 1)
    assert (settings.concurrency, settings.rate, settings.timeout) == (None, None, None)


# -- paths into JSON -------------------------------------------------------------------------------

ANSWER = {"choices": [{"message": {"content": "7/10"}}], "r": [{"s": 1}, {"s": 2}], "0": "zero"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("choices.0.message.content", "7/10"),
        ("r.*.s", [1, 2]),
        ("r.1.s", 2),
        ("r.*", [{"s": 1}, {"s": 2}]),
        ("0", "zero"),
        ("", ANSWER),
    ],
)
def test_find(path, found):
    assert find(ANSWER, path) == found


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("score", "no 'score' in the answer, which has choices, r, 0"),
        ("r.2.s", "no '2' in 'r', a list of 2"),
        ("r.*.t", "no 't' in 'r.0', which has s"),
        ("choices.first", "no 'first' in 'choices', a list of 1"),
        ("choices.0.message.content.text", "no 'text' in 'choices.0.message.content', a string"),
        ("r.0.s.x", "no 'x' in 'r.0.s', a number"),
        ("*", "no '*' in the answer"),
    ],
)
def test_find_says_how_far_a_path_led(path, said):
    with pytest.raises(PathError) as caught:
        find(ANSWER, path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ({}, "image", {"image": "A"}),
        ({"a": 1}, "inputs.0.image", {"a": 1, "inputs": [{"image": "A"}]}),
        ({"m": [{"t": 1}, {"t": 2}]}, "m.1.u", {"m": [{"t": 1}, {"t": 2, "u": "A"}]}),
        ({"m": [{"t": 1}]}, "m.1", {"m": [{"t": 1}, "A"]}),
        ({}, "images.*", {"images": ["A", "B"]}),
        ({"i": [{"k": 1}]}, "i.*.x", {"i": [{"k": 1, "x": "A"}, {"k": 1, "x": "B"}]}),
        ({"x": {"0": 1}}, "x.0", {"x": {"0": "A"}}),
        ({"image": "here"}, "image", {"image": "A"}),
    ],
)
def test_placed(template, path, found):
    before = repr(template)
    assert placed(template, path, ["A", "B"]) == found
    assert repr(template) == before
