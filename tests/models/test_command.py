import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from iqattack.errors import InputError, TransientError
from iqattack.models import answers, load_model
from iqattack.models.checked import Model
from iqattack.models.inputs import Input
from iqattack.models.services import command, program
from iqattack.models.services.command import load_command, of_settings
from iqattack.scoring import InProcess, Threads
from iqattack.scoring.contract import Request
from iqattack.scoring.retry import Retry

IMAGES = torch.randint(256, (3, 3, 12, 10), generator=torch.Generator().manual_seed(0)).byte()
MEANS = [float(image.float().mean()) for image in IMAGES]

# A scorer that prints the mean of each picture; tests put lines of their own into it.
SCORER = """
import base64, io, json, os, sys, time
from PIL import Image, ImageStat
{start}
declared = {declared}
for n, line in enumerate(sys.stdin):
    request = json.loads(line)
    if "png" not in request:
        print(json.dumps(declared | {{"id": 0}}))
        continue
    picture = Image.open(io.BytesIO(base64.b64decode(request["png"])))
    bands = ImageStat.Stat(picture).mean
    answer = {{"id": request["id"], "score": sum(bands) / len(bands)}}
{each}
    print(json.dumps(answer))
"""


@pytest.fixture
def scorer(tmp_path):
    """Writes a scorer and loads it; all processes are ended after the test."""
    made = []

    def make(each="pass", start="", declared="{}", **options):
        path = tmp_path / f"scorer{len(made)}.py"
        each = textwrap.indent(textwrap.dedent(each), "    ")
        path.write_text(SCORER.format(start=start, each=each, declared=declared))
        made.append(load_command(f"{python()} {path}", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def one_shot(tmp_path):
    def make(body, arguments="{image}", **options):
        path = tmp_path / "once.py"
        path.write_text(body)
        return load_command(f"{python()} {path} {arguments}", **options)

    return make


def python():
    return shlex.quote(sys.executable)


OTHERS = set()


@pytest.fixture(autouse=True)
def others():
    """Processes that were there before, of other tests."""
    OTHERS.update(psutil.Process().children(recursive=True))


def children():
    """Processes below this one that have begun in this test and not ended."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if p.status() != psutil.STATUS_ZOMBIE and p not in OTHERS]


def settings(words, **given):
    keys = ("name", "score_range", "lower_better", "min_size", "score")
    defaults = dict.fromkeys(keys) | {"image": "json-lines", "files": []}
    return SimpleNamespace(command=words, **(defaults | given))


# -- JSON lines -----------------------------------------------------------------------------------


def test_scores_of_several_images(scorer):
    model = scorer()
    assert model(IMAGES) == pytest.approx(MEANS)
    assert model(IMAGES.flip(0)) == pytest.approx(MEANS[::-1])
    assert len(children()) == 1


def test_what_it_declares(scorer):
    declared = {"name": "ours", "score_range": [0, 255], "lower_better": True, "min_size": 8}
    model = scorer(declared=repr(declared))
    assert (model.name, model.score_range) == ("ours", (0.0, 255.0))
    assert (model.lower_better, model.min_size) == (True, 8)
    assert scorer(declared=repr(declared), convention=Input.parse("size=64")).min_size == 1


def test_what_it_does_not_declare(scorer):
    model = scorer()
    assert (model.name, model.score_range) == ("command:scorer0.py", None)
    assert (model.lower_better, model.min_size) == (None, 1)


def test_settings_go_before_what_it_declares(tmp_path):
    path = tmp_path / "scorer.py"
    declared = {"name": "ours", "score_range": [0, 1], "lower_better": True, "min_size": 8}
    path.write_text(SCORER.format(start="", each="    pass", declared=declared))
    given = settings(
        [sys.executable, str(path)],
        name="mine",
        score_range=(0.0, 255.0),
        lower_better=False,
        min_size=4,
        files=[path],
    )
    model = of_settings(given)
    assert (model.name, model.score_range) == ("mine", (0.0, 255.0))
    assert (model.lower_better, model.min_size, model.files) == (False, 4, (path,))
    model.close()


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{'score_range': [1, 0]}", r"score range \[1, 0\]: expected two finite numbers"),
        ("{'score_range': 'wide'}", "score range 'wide': expected two finite numbers"),
        ("{'lower_better': 'no'}", "declares lower_better 'no': expected true or false"),
        ("{'min_size': 0}", "declares min_size 0: expected pixels, at least 1"),
    ],
)
def test_declarations_that_make_no_sense(scorer, declared, message):
    with pytest.raises(InputError, match=message):
        scorer(declared=declared)


def test_input_convention(scorer):
    black = Input.parse("size=16x8,grey")
    model = scorer(
        each='answer["score"] = [*picture.size, len(bands)][request["id"] - 1]', convention=black
    )
    assert model(IMAGES) == [16, 8, 1]
    with pytest.raises(InputError, match="--input float01: a command receives 8-bit pictures"):
        scorer(convention=Input.parse("float01"))


def test_the_device_is_in_the_environment(scorer):
    model = scorer(each='answer["score"] = len(os.environ["IQATTACK_DEVICE"])', device="cuda:1")
    assert model(IMAGES[:1]) == [len("cuda:1")]


def test_a_number_alone_is_an_answer(tmp_path):
    path = tmp_path / "numbers.py"
    path.write_text("import sys\nfor n, line in enumerate(sys.stdin): print(n / 4)")
    model = load_command(f"{python()} {path}")
    assert model(IMAGES) == [0.25, 0.5, 0.75]
    assert model.score_range is None
    model.close()


def test_errors_that_it_reports(scorer):
    model = scorer(
        each="""
        if n != 3:
            answer = {"id": request["id"], "error": "kein Gesicht: ä\\n€", "transient": n == 2}
        """
    )
    first, second, third = model(IMAGES)
    assert isinstance(first, InputError)
    assert str(first).endswith("has no score: kein Gesicht: ä €")
    assert isinstance(second, TransientError)
    assert third == pytest.approx(MEANS[2])
    assert len(children()) == 1


@pytest.mark.parametrize(
    ("each", "quoted"),
    [
        ('answer = "nonsense"', '"nonsense"'),
        ("answer = [1, 2]", r"\[1, 2\]"),
        ('answer["score"] = None', '"score": null'),
        ('answer["score"] = True', '"score": true'),
        ('answer["id"] = 99', '"id": 99'),
        ("answer = {}", r"\{\}"),
        ("print('loading\\x1b[0m weights')", r"loading \[0m weights"),
        ("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); continue", "\ufffd\ufffd"),
        ("print('[' * 100_000); continue", r"\[\[\["),
        ("print('{\"score\": ' + '9' * 4000 + '}'); continue", "999"),
        ("print('x' * 2_000_000)", "bytes in place of a score: 'xxx"),
    ],
)
def test_rubbish_is_quoted_and_fails_the_image(scorer, each, quoted):
    model = scorer(each=f"if n == 1:\n    {each}")
    first, second, _ = model(IMAGES)
    assert isinstance(first, InputError)
    assert "\n" not in str(first)
    assert len(str(first)) < 600
    assert re.search(quoted, str(first))
    # A new process has the next picture, which is the first of its own.
    assert isinstance(second, InputError)


def test_a_line_nobody_asked_for_does_not_become_the_next_score(tmp_path):
    path = tmp_path / "twice.py"
    path.write_text(
        "import sys\nfor n, line in enumerate(sys.stdin):\n    print(7)\n    if n == 1: print(8)"
    )
    model = load_command(f"{python()} {path}")
    first = model(IMAGES[:1])[0]
    time.sleep(0.2)  # both lines are there, whichever call sees the second
    later = model(IMAGES[:1])[0]
    assert 8.0 not in (first, later)
    assert any("more than one line" in str(found) for found in (first, later))
    model.close()


def test_a_program_that_ends_is_started_again(scorer):
    model = scorer(each="if n == 3:\n    sys.exit('out of luck')")
    found = model(IMAGES.repeat(3, 1, 1, 1))
    failed = [n for n, one in enumerate(found) if isinstance(one, Exception)]
    assert failed == [2, 5, 8]
    assert isinstance(found[2], TransientError)
    assert str(found[2]).endswith("ended with status 1: out of luck")
    assert found[:2] == pytest.approx(MEANS[:2])


def test_the_pool_gets_every_score_of_a_program_that_ends_now_and_then(scorer):
    model = Model(scorer(each="if n == 3:\n    os.abort()"), "it", (0.0, 255.0), False)
    pool = InProcess(model, batch=1, retry=Retry(retries=3, first_s=0.0, longest_s=0.0))
    requests = [Request(str(n), 0, image) for n, image in enumerate(IMAGES.repeat(4, 1, 1, 1))]
    for request in requests:
        pool.submit([request])
    replies = []
    while pool.pending:
        replies += pool.wait()
    scores = {reply.request.name: reply.score for reply in replies if reply.final}
    assert [scores[str(n)] for n in range(12)] == pytest.approx(MEANS * 4)
    errors = [reply.error for reply in replies if not reply.final]
    assert errors
    assert all("SIGABRT" in str(error) for error in errors)


def test_a_program_that_never_scores_is_given_up(scorer):
    model = scorer(each="sys.exit(3)")
    found = model(IMAGES[:1].repeat(5, 1, 1, 1))
    passing = [isinstance(one, TransientError) for one in found]
    assert passing == [True] * 3 + [False] * 2
    assert "with status 3; this happened 3 times in a row without a score" in str(found[4])
    assert "raise --timeout if it is slow, and continue with --resume" in str(found[4])
    assert children() == []


def test_processes_that_are_lost_together_are_one_loss(scorer):
    """Each of the four waits at the same time for an answer that never comes, twice."""
    model = scorer(each="sys.exit(3)")
    for _ in range(2):
        processes = [model._start()[0] for _ in range(4 - len(model._free))]
        for process in [*processes, *model._free]:
            model._lose(process, TransientError("no answer"))
        model._free.clear()
    assert isinstance(model(IMAGES[:1])[0], TransientError)
    assert "3 times in a row" in str(model(IMAGES[:1])[0])


UNDESCRIBED = """
import base64, io, json, sys
from PIL import Image, ImageStat
for line in sys.stdin:
    request = json.loads(line)
    picture = Image.open(io.BytesIO(base64.b64decode(request["png"])))
    {each}
    bands = ImageStat.Stat(picture).mean
    print(json.dumps({{"id": request["id"], "score": sum(bands) / 3}}))
"""


def test_a_program_that_ends_when_it_is_asked_to_describe_itself(tmp_path):
    path = tmp_path / "simple.py"
    path.write_text(UNDESCRIBED.format(each=""))
    model = load_command(f"{python()} {path}")
    assert (model.score_range, model.lower_better, model.min_size) == (None, None, 1)
    assert "KeyError: 'png', when asked to describe itself" in model.notes[0]
    assert model(IMAGES) == pytest.approx(MEANS)
    assert len(children()) == 1
    model.close()


def test_a_program_that_neither_describes_itself_nor_scores(tmp_path):
    path = tmp_path / "simple.py"
    path.write_text(UNDESCRIBED.format(each="sys.exit('no weights')"))
    model = load_command(f"{python()} {path}")
    found = model(IMAGES[:1].repeat(4, 1, 1, 1))
    assert [isinstance(one, TransientError) for one in found] == [True] * 3 + [False]
    for one in found:
        assert "no weights; " in str(one)
        assert "KeyError: 'png'" in str(one)
        assert "\n" not in str(one)
    assert children() == []


def test_a_program_that_answers_with_an_error_when_it_is_asked_to_describe_itself(tmp_path):
    path = tmp_path / "polite.py"
    path.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    answer = {'score': 7} if 'png' in request else {'error': 'png is missing'}\n"
        "    print(json.dumps(answer | {'id': request['id']}))"
    )
    model = load_command(f"{python()} {path}")
    assert model.score_range is None
    assert model(IMAGES) == [7.0] * 3
    model.close()


@pytest.mark.parametrize("seconds", [1e300, -1.0, 0.0, math.nan])
def test_time_limits_that_are_none(tmp_path, seconds):
    with pytest.raises(InputError, match="expected seconds, more than 0 and at most a day"):
        load_command("cat {image}", timeout=seconds)


def test_a_program_that_ends_at_once(scorer):
    with pytest.raises(InputError, match=r"ended with status 1: .*No module named 'absent'") as one:
        scorer(start="import absent")
    assert "\n" not in str(one.value)
    assert children() == []


def test_a_program_that_says_something_else_first(scorer):
    with pytest.raises(InputError, match=r"'Loading weights'; expected one line .* standard error"):
        scorer(start="print('Loading weights')\ntime.sleep(0.3)")


def test_a_time_limit_ends_the_program_and_all_that_it_started(scorer):
    model = scorer(
        start="import subprocess",
        each="""
        if picture.getpixel((0, 0)) == (0, 0, 0):
            subprocess.Popen(["sleep", "1000"])
            time.sleep(1000)
        """,
        timeout=0.5,
    )
    black = torch.zeros_like(IMAGES[:1])
    found = model(torch.cat([IMAGES[:1], black, IMAGES[1:2]]))
    assert isinstance(found[1], TransientError)
    assert "gave no answer within 0.5 s" in str(found[1])
    assert [found[0], found[2]] == pytest.approx(MEANS[:2])
    assert len(children()) == 1


def test_a_program_that_does_not_describe_itself_in_time(scorer, monkeypatch):
    monkeypatch.setattr(command, "START_S", 0.3)
    with pytest.raises(InputError, match=r"within 0.3 s; expected an answer to \{\"id\": 0"):
        scorer(start="time.sleep(1000)")
    assert children() == []


def test_a_program_that_reads_nothing_does_not_block(tmp_path):
    path = tmp_path / "deaf.py"
    path.write_text("import time\ninput()\nprint(1)\ntime.sleep(1000)")
    model = load_command(f"{python()} {path}", timeout=0.5)
    noise = torch.randint(256, (1, 3, 600, 600)).byte()  # more than a pipe holds
    (found,) = model(noise)
    assert isinstance(found, TransientError)
    assert "gave no answer within 0.5 s" in str(found)
    model.close()


def test_much_on_standard_error_neither_blocks_nor_stays(scorer):
    model = scorer(
        each="sys.stderr.write('x' * 3_000_000 + 'the end');"
        " sys.exit(1) if request['id'] == 3 else 0"
    )
    first, second, third = model(IMAGES)
    assert [first, second] == pytest.approx(MEANS[:2])
    assert str(third).endswith("xxx" + "the end")
    assert len(str(third)) < 600


def test_standard_error_that_is_no_utf8(scorer):
    model = scorer(each="sys.stderr.buffer.write(b'\\xff\\xfe caf\\xe9'); sys.exit(1)")
    assert str(model(IMAGES[:1])[0]).endswith("\ufffd\ufffd caf\ufffd")


def test_each_thread_has_a_process(scorer):
    model = scorer(each="answer['score'] = os.getpid(); time.sleep(0.2)")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: model(IMAGES[:1])[0], range(8)))
    assert len(set(found)) == 4
    assert {one.pid for one in children()} == set(found)
    model.close()
    assert children() == []


def test_a_pool_of_threads(scorer):
    model = Model(scorer(), "it", (0.0, 255.0), False)
    pool = Threads(model, 3)
    for n, image in enumerate(IMAGES):
        pool.submit([Request(str(n), 0, image)])
    scores = {}
    while pool.pending:
        scores |= {reply.request.name: reply.score for reply in pool.wait()}
    pool.close()
    assert [scores[str(n)] for n in range(3)] == pytest.approx(MEANS)


def test_closing_ends_a_call_that_hangs(scorer, tmp_path):
    asked = tmp_path / "asked"
    model = scorer(each=f"open({str(asked)!r}, 'w'); time.sleep(1000)")
    found = []
    asking = threading.Thread(target=lambda: found.extend(model(IMAGES[:1])))
    asking.start()
    while not asked.exists():
        time.sleep(0.01)
    model.close()
    asking.join(30)
    assert isinstance(found[0], TransientError)
    assert children() == []
    assert "is closed" in str(model(IMAGES[:1])[0])


@pytest.mark.slow
def test_restarts_leave_nothing_behind(scorer):
    model = scorer(start="import signal", each="if n == 2:\n    os.kill(0, signal.SIGKILL)")

    def held():
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            len(children()),
        )

    model(IMAGES[:2])
    before = held()
    for _ in range(40):
        first, second = model(IMAGES[:2])
        assert first == pytest.approx(MEANS[0])
        assert isinstance(second, TransientError)
    assert held()[:2] <= (before[0] + 4, before[1] + 1)
    model.close()
    assert held()[2] == 0


def test_a_killed_parent_leaves_no_child(tmp_path):
    path, pid = tmp_path / "scorer.py", tmp_path / "pid"
    path.write_text(
        SCORER.format(
            start=f"open({str(pid)!r}, 'w').write(str(os.getpid()))", each="    pass", declared="{}"
        )
    )
    program = (
        "import time; from iqattack.models.services.command import load_command\n"
        f"model = load_command({f'{python()} {path}'!r}); print('up', flush=True); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    parent.stdout.readline()
    child = psutil.Process(int(pid.read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([child], timeout=30)[1] == []


def test_the_program_ends_with_its_parent_and_gets_no_interrupt(tmp_path):
    path, pid = tmp_path / "scorer.py", tmp_path / "pid"
    path.write_text(
        SCORER.format(
            start=f"open({str(pid)!r}, 'w').write(str(os.getsid(0)))", each="", declared="{}"
        )
    )
    # It is not closed: the interpreter's end does it.
    program = (
        "from iqattack.models.services.command import load_command\n"
        f"load_command({f'{python()} {path}'!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    session = int(pid.read_text())
    assert session != os.getsid(0)
    assert not psutil.pid_exists(session)


# -- one run for each image -----------------------------------------------------------------------

MEAN = "import sys\nfrom PIL import Image, ImageStat\n"
MEAN += "bands = ImageStat.Stat(Image.open(sys.argv[-1])).mean\nmean = sum(bands) / 3\n"


@pytest.mark.parametrize(
    ("output", "arguments"),
    [
        ("print(mean)", "{image}"),
        ("print(' ', mean, end='\\n\\n')", "{image}"),
        ("import json; print(json.dumps({'score': mean, 'model': 'ours'}, indent=1))", "{image}"),
        ("print(f'loading', file=sys.stderr); print(mean)", "--verbose {image}"),
    ],
)
def test_one_shot(one_shot, output, arguments):
    assert one_shot(MEAN + output, arguments)(IMAGES) == pytest.approx(MEANS)


def test_one_shot_in_part_of_a_word(one_shot):
    body = MEAN.replace("sys.argv[-1]", "sys.argv[1].removeprefix('--image=')") + "print(mean)"
    assert one_shot(body, "--image={image}")(IMAGES) == pytest.approx(MEANS)


@pytest.mark.parametrize("pattern", [r"quality: (\S+)", r"(?<=quality: )\S+"])
def test_one_shot_with_a_regular_expression(tmp_path, pattern):
    path = tmp_path / "once.py"
    path.write_text(MEAN + "print(f'size: 12\\nquality: {mean} of 255')")
    words = [sys.executable, str(path), "{image}"]
    assert of_settings(settings(words, image="argument", score=pattern))(IMAGES) == pytest.approx(
        MEANS
    )
    absent = of_settings(settings(words, image="argument", score="niqe (.*)"))(IMAGES[:1])[0]
    assert "printed 'size: 12 quality: 1" in str(absent)
    assert "expected a match of 'niqe (.*)'" in str(absent)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('good')", r"printed 'good'; expected only a number or JSON such as"),
        ("print('')", "printed ''; expected only a number"),
        ("print('{\"quality\": 1}')", "quality.*; expected only a number"),
        ("import os; os.write(1, bytes([255]) * 9)", "printed '\ufffd+'; expected"),
        ("raise SystemExit('no such weights')", "ended with status 1: no such weights"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"signal 11 \(SIGSEGV\)"),
        ("import sys; sys.stderr.write('y' * 10**6 + 'z'); sys.exit(2)", "status 2: …y+z$"),
        ("print('x' * 2_000_000)", "printed more than 1048576 bytes in place of a score"),
    ],
)
def test_one_shot_that_fails(one_shot, body, message):
    (found,) = one_shot(body)(IMAGES[:1])
    assert isinstance(found, InputError)
    assert "\n" not in str(found)
    assert re.search(message, str(found))


def test_one_shot_that_hangs(one_shot):
    model = one_shot(
        "import subprocess, time\nsubprocess.Popen(['sleep', '1000'])\ntime.sleep(1000)",
        timeout=0.5,
    )
    (found,) = model(IMAGES[:1])
    assert isinstance(found, TransientError)
    assert "gave no answer within 0.5 s" in str(found)
    assert children() == []


def test_one_shot_leaves_no_files(one_shot, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert one_shot(MEAN + "print(mean)")(IMAGES) == pytest.approx(MEANS)
    assert one_shot("raise SystemExit(1)")(IMAGES[:1])
    assert list(folder.iterdir()) == []


# -- specs ----------------------------------------------------------------------------------------


def test_files_are_found_from_another_folder(tmp_path, monkeypatch):
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "once.py").write_text(MEAN + "open('weights.txt'); print(mean)")
    (folder / "weights.txt").write_text("")
    monkeypatch.chdir(folder)
    words = f"{python()} once.py --weights=weights.txt --fast {{image}}"
    model = load_command(words)
    monkeypatch.chdir(tmp_path)
    assert model(IMAGES[:1]) == pytest.approx(MEANS[:1])
    assert shlex.split(model.spec.removeprefix("command:"))[1:] == [
        f"{folder}/once.py",
        f"--weights={folder}/weights.txt",
        "--fast",
        "{image}",
    ]
    assert model.name == "command:once.py"
    again = load_command(model.spec.removeprefix("command:"))
    assert again.spec == model.spec
    assert model.files == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "^command: it is empty; expected command:PROGRAM"),
        ("absent-program --fast", "no executable program 'absent-program'"),
        ("./absent {image}", "no executable program './absent'"),
        ("score 'it", "^command 'score 'it': no closing quotation"),
    ],
)
def test_commands_that_cannot_be_run(words, message):
    with pytest.raises(InputError, match=message) as caught:
        load_command(words)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "text"
    path.write_text("no program")
    path.chmod(0o755)
    with pytest.raises(InputError, match=r"does not start: .*'.*/text'"):
        load_command(str(path))


def test_settings_that_do_not_fit():
    with pytest.raises(InputError, match=r"expected \{image\} in it"):
        of_settings(settings(["cat"], image="argument"))
    with pytest.raises(InputError, match=r"score = '\(' is not a regular expression"):
        of_settings(settings(["cat", "{image}"], image="argument", score="("))
    with pytest.raises(InputError, match='leave it out with image = "json-lines"'):
        of_settings(settings(["cat"], score="x"))


def test_a_file_describes_a_command(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "once.py").write_text(MEAN + "print('mean', mean)")
    (folder / "scorer.toml").write_text(
        f"""
        command = ['{sys.executable}', 'once.py', '{{image}}']
        image = 'argument'
        score = 'mean (.*)'
        score_range = [0, 255]
        lower_better = false
        files = ['once.py']
        """
    )
    monkeypatch.chdir(tmp_path)
    model = load_model("models/scorer.toml")
    assert torch.as_tensor(model(IMAGES)).tolist() == pytest.approx(MEANS)
    assert (model.score_range, model.lower_better) == ((0.0, 255.0), False)
    assert model.traits.files == (folder / "scorer.toml", folder / "once.py")
    assert model.traits.spec == str(folder / "scorer.toml")


def test_answers_are_checked_as_those_of_any_model(one_shot):
    model = Model(one_shot("print('nan')"), "it", (0.0, 1.0), False, 11)
    with pytest.raises(InputError, match="10×12 pixels is too small"):
        answers(model, IMAGES)
    assert program.quoted(b"a\nb") == "a b"
    model.min_size = 1
    (found,) = answers(model, IMAGES[:1])
    assert isinstance(found, float)
    assert math.isnan(found)


def test_a_program_that_ends_after_each_answer_costs_no_attempt(scorer):
    model = scorer(
        each="""
        print(json.dumps({"id": request["id"], "score": 1.5}), flush=True)
        sys.exit()
    """
    )
    for _ in range(4):
        assert model(IMAGES[:1]) == [1.5]


def test_rubbish_after_a_score_passes(scorer):
    model = scorer(
        each="""
        if picture.getpixel((0, 0)) == (0, 0, 0):
            print("Warning: this and that", flush=True)
    """
    )
    (score,) = model(IMAGES[:1])
    (error,) = model(torch.zeros_like(IMAGES[:1]))
    assert isinstance(error, TransientError) and "expected one" in str(error)
    assert model(IMAGES[:1]) == [score]


def test_a_script_that_takes_a_path_is_given_a_hint(tmp_path):
    (tmp_path / "mine.py").write_text("import sys\nopen(sys.argv[1])\n")
    with pytest.raises(InputError, match=r"without \{image\}, the placeholder for .* JSON lines"):
        load_command(f"{python()} {tmp_path}/mine.py")
