"""A run from another user does not execute its code without consent."""

import http.server
import shutil
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w

import iqattack
from iqattack.api import UntrustedError
from iqattack.cli import main
from iqattack.errors import IqattackError, RunError
from iqattack.imports import absolute
from iqattack.runs import Run, execute
from iqattack.runs.owner import MARK, is_own, signed
from iqattack.runs.trust import runs_code

PLANTED = """
from pathlib import Path
Path({marker!r}).touch()

def load():
    f = lambda images: images.double().mean((1, 2, 3))
    f.name, f.score_range, f.lower_better = "brightness", (0.0, 255.0), False
    return f

def attack(task):
    yield task.image[None]
"""


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it ran"


@pytest.fixture
def planted(tmp_path, marker):
    """A file that leaves a marker as soon as it is imported."""
    path = tmp_path / "planted.py"
    path.write_text(PLANTED.format(marker=str(marker)))
    return path


@pytest.fixture
def run(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        execute(made, images, brightness)
    return made


def forge(run, *, files=None, own=False, **settings):
    """Forge the settings of a run, as in a run from another user."""
    path = run.folder / "run.toml"
    record = tomllib.loads(path.read_text())
    record["settings"] |= settings
    if files is not None:
        record["model"]["files"] = files
    text = tomli_w.dumps(record)
    path.write_text(signed(text) if own else text)
    (run.folder / "summary.json").unlink(missing_ok=True)  # which has the settings, too
    return run.folder


def sha256(path):
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- what is code ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("builtin", False),
        ("cnniqa:weights.pth", False),
        ("onnx:graph.onnx,softmax", False),
        ("pyiqa:musiq", False),
        ("pyiqa:niqe,crop_border=4,test_y_channel=True", False),
        ("pyiqa:musiq,pretrained_model_path=evil.pth", True),
        ("pyiqa:musiq,pretrained=ava", True),
        ("pyiqa:nima,pretrained_model_path=1", True),
        *(
            (f"pyiqa:nima,pretrained_model_path={name}", True)
            for name in ("nan", "infinity", "TRUE", "none", "0001", "１２", "1e")
        ),
        *(
            (f"pyiqa:nima,crop={name}", True)
            for name in ("nan", "infinity", "TRUE", "none", "0001", "１２", "[1]", "'a'", "(" * 500)
        ),
        ("pyiqa:nima,crop=None", False),
        ("pyiqa:nima,crop=-1.5e3", False),
        ("pyiqa:nima,crop", True),
        ("pyiqa:qalign", True),
        ("pyiqa:qalign_4bit", True),
        ("pyiqa:compare2score", True),
        ("x.onnx", True),
        ("", True),
        ("model.py:load", True),
        ("os.path:join", True),
        ("command:sh -c evil", True),
        ("http://host/score", True),
        ("https://host/score#batch=2", True),
        ("service.toml", True),
        ("something-new:x", True),
        ("defended(jpeg:75):builtin", False),
        ("defended(jpeg:75):defended(round:5):cnniqa:weights.pth", False),
        ("defended(jpeg:75):model.py:load", True),
        ("defended(jpeg:75):defended(round:5):command:sh -c evil", True),
        ("defended(jpeg:75):pyiqa:musiq,pretrained_model_path=evil.pth", True),
        ("defended(jpeg:75)builtin", True),
        ("defended(builtin)", True),
    ],
)
def test_what_is_code(spec, code):
    assert runs_code(spec) == code


def test_a_plugin_of_an_installed_package_needs_no_question(monkeypatch, tmp_path):
    def found(folder):
        dist = SimpleNamespace(locate_file=lambda _: folder, name="theirs")
        point = SimpleNamespace(dist=dist, name="theirs", value="theirs:load")
        monkeypatch.setattr("iqattack.plugins.installed", lambda group: {"theirs": point})
        return runs_code("theirs")

    monkeypatch.chdir(tmp_path)
    assert not found("/usr/lib/python3/site-packages")
    assert not found(tmp_path / ".venv" / "lib" / "site-packages")
    assert not runs_code("theirs")
    assert runs_code("theirs.other:load")
    # `python -m iqattack` searches the working folder, too, where nothing is installed.
    assert found(tmp_path)
    assert found(tmp_path / "unpacked")


# -- whose a run is -------------------------------------------------------------------------------


def test_own_runs_are_known_and_changed_ones_are_not(run, tmp_path, monkeypatch):
    path = run.folder / "run.toml"
    text = path.read_text()
    assert is_own(path)
    assert tomllib.loads(text)["settings"]["model"] == "brightness"
    path.write_text(text.replace("seed = 0", "seed = 1"))
    assert not is_own(path)
    path.write_text(text + "more = 1\n")
    assert not is_own(path)
    path.write_text(text.rpartition(MARK)[0])
    assert not is_own(path)
    path.write_text(text)
    assert is_own(path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of somebody else"))
    assert not is_own(path)
    signed("")  # they have a key, too
    assert not is_own(path)
    assert (tmp_path / "of somebody else" / "iqattack" / "key").stat().st_mode & 0o077 == 0


def test_without_a_place_for_a_key_a_run_is_written_all_the_same(
    tmp_path, settings, brightness, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with Run.create(tmp_path / "run", settings(), brightness) as run:
        assert MARK not in (run.folder / "run.toml").read_text()
        assert not is_own(run.folder / "run.toml")
    assert Run.open(run.folder).settings.model == "brightness"


# -- verify ---------------------------------------------------------------------------------------


def test_verify_checks_all_else_first_and_names_the_file(run, planted, marker):
    forge(run, model=f"{planted}:load", files={str(planted): sha256(planted)})
    table = run.folder / "results.csv"
    table.write_text(table.read_text().replace(repr(run.results[1].score_adv), "99.5"))
    with pytest.raises(UntrustedError) as caught:
        iqattack.verify(run.folder)
    assert not marker.exists()
    reported = str(caught.value)
    assert f"{planted}, SHA-256 {sha256(planted)}, as recorded" in reported
    assert "--trust" in reported
    assert "\n" not in reported
    assert [d.image for d in caught.value.differences] == ["1.png"]


def test_agreed_it_is_loaded(run, planted, marker):
    forge(run, model=f"{planted}:load", files={str(planted): sha256(planted)})
    assert iqattack.verify(run.folder, trust=True).ok
    assert marker.exists()


def test_own_runs_and_models_that_are_named_ask_nothing(run, planted, marker):
    hashes = {str(planted): sha256(planted)}
    forge(run, model=f"{planted}:load", files=hashes, own=True)
    assert iqattack.verify(run.folder).ok
    marker.unlink()
    forge(run, model="nowhere.py:load", files=hashes)
    assert iqattack.verify(run.folder, f"{planted}:load").ok


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_another_hash_is_an_error_before_anything_runs(run, planted, marker, trust, own):
    forge(run, model=f"{planted}:load", files={str(planted): "0" * 64}, own=own)
    with pytest.raises(
        RunError, match=rf"{planted}, SHA-256 {sha256(planted)}, which differs from the recorded"
    ):
        iqattack.verify(run.folder, trust=trust)
    assert not marker.exists()
    if not (trust or own):
        with pytest.raises(UntrustedError, match="which differs from the recorded one"):
            iqattack.verify(run.folder, accept_changed_model=True)
        assert not marker.exists()
        return
    assert iqattack.verify(run.folder, trust=trust, accept_changed_model=True).ok


def test_a_module_is_found_without_importing_its_packages(run, tmp_path, marker, monkeypatch):
    """What would be imported here is held against what the run recorded, wherever that was."""
    # No other test has a module of this name: what was found once stays on the path.
    package = tmp_path / "of_somebody"
    package.mkdir()
    for name in ("__init__.py", "model.py"):
        (package / name).write_text(PLANTED.format(marker=str(marker)))
    monkeypatch.chdir(tmp_path)
    elsewhere = "/somewhere/of_somebody/model.py"
    forge(run, model="of_somebody.model:load", files={elsewhere: sha256(package / "model.py")})
    with pytest.raises(UntrustedError, match=rf"{package}/model\.py, SHA-256 .*, as rec"):
        iqattack.verify(run.folder)
    forge(run, model="of_somebody.model:load", files={elsewhere: "0" * 64})
    with pytest.raises(RunError, match=rf"its model has changed: {package}/model\.py"):
        iqattack.verify(run.folder, trust=True)
    assert not marker.exists()


def test_a_file_without_a_recorded_hash_is_named(run, planted, marker):
    forge(run, model=f"{planted}:load", files={})
    with pytest.raises(UntrustedError, match=rf"{planted}, .*for which the run recorded no hash"):
        iqattack.verify(run.folder)
    assert not marker.exists()


# -- every command, every kind of thing that a run may name ---------------------------------------


@pytest.fixture
def listening():
    """The address of a server, and the requests that came."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(self.path)
            self.send_error(500)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/score", came
    server.shutdown()
    server.server_close()
    thread.join()


COMMANDS = ("verify", "evaluate", "report", "compare", "resume", "queries", "accepting")
KINDS = ("file", "module", "command", "toml", "http", "attack", "profile", "substitute")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_command_runs_what_a_run_names(
    run, planted, marker, listening, tmp_path, photos, monkeypatch, command, kind
):
    monkeypatch.chdir(tmp_path)  # where the planted file can be imported as a module
    url, came = listening
    described = tmp_path / "service.toml"
    described.write_text(f'command = ["touch", "{marker}"]\nscore_range = [0, 255]\n')
    pickled = tmp_path / "profile.json"
    pickled.write_bytes(b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    changed = {
        "file": {"model": f"{planted}:load"},
        "module": {"model": "planted:load"},
        "command": {"model": f"command:touch {marker}"},
        "toml": {"model": str(described)},
        "http": {"model": url},
        "attack": {"attack": f"{planted}:attack"},
        "profile": {"attack": f"filter-search:profile={pickled}"},
        "substitute": {"attack": f"transfer:model={planted}:load"},
    }[kind]
    folder = str(forge(run, files={}, **changed))
    common = ("attack", str(photos), "--model", "builtin", "--out", folder, "--resume")
    arguments = {
        "verify": ("verify", folder),
        "evaluate": ("evaluate", folder, "--json"),
        "report": ("report", folder),
        "compare": ("compare", folder, str(shutil.copytree(folder, tmp_path / "copy"))),
        "queries": ("evaluate", folder, "--queries", "5"),
        "resume": common,
        "accepting": (*common, "--accept-changed-model", "--accept-lost-log"),
    }[command]
    status = main(arguments)
    assert not marker.exists()
    assert not came
    if command in ("verify", "resume", "accepting"):
        assert status == 2  # of `attack`: those are other settings
    else:
        assert status == 0


def test_the_terminal_asks_and_no_is_the_default(run, planted, marker, monkeypatch, capsys):
    folder = str(forge(run, model=f"{planted}:load", files={str(planted): sha256(planted)}))
    asked = []
    for answer, status in ((False, 2), (True, 0)):

        def confirm(text, *, default, err, answer=answer):
            asked.append((text, default, err))
            return answer

        monkeypatch.setattr("iqattack.cli.verify.typer.confirm", confirm)
        monkeypatch.setattr("iqattack.cli.verify._asks", lambda: True)
        assert main(("verify", folder)) == status
        assert marker.exists() == answer
    assert all(default is False for _, default, _ in asked)
    assert str(planted) in asked[0][0]
    marker.unlink()
    monkeypatch.setattr("iqattack.cli.verify._asks", lambda: False)
    capsys.readouterr()
    assert main(("verify", folder)) == 2
    assert "--trust" in capsys.readouterr().err
    assert not marker.exists()
    assert main(("verify", folder, "--trust")) == 0
    assert main(("verify", folder, "--trust", "--model", f"{planted}:load")) == 2


def test_a_log_with_triggers_and_views_runs_nothing(run):
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(run.folder / "log.sqlite") as log:
        log.execute("ALTER TABLE kept RENAME TO real")
        log.execute("CREATE VIEW kept AS SELECT name, load_extension('evil') AS json FROM real")
    with pytest.raises(IqattackError):
        iqattack.evaluate(run.folder)


def test_paths_in_messages_are_absolute(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forge(run, model="planted.py:load", files={})
    Path("planted.py").write_text("raise SystemExit")
    with pytest.raises(UntrustedError, match=str(absolute("planted.py"))):
        iqattack.verify(run.folder)
