"""Defences that other people write: files, modules, entry points, and whatever they give."""

import hashlib
import pickle
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack import plugins
from iqattack.cli import main
from iqattack.defences import Behind, label, parse_defence, parts_of, read_label
from iqattack.defences.own import Own
from iqattack.errors import InputError, RunError
from iqattack.models import ModelFailedError, answers, foreign_defences, load_model, split_spec
from iqattack.runs.trust import UntrustedError, runs_code
from iqattack.scoring.ceiling import CeilingReached

pytestmark = pytest.mark.usefixtures("few_resamples")

MINE = '''
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from iqattack.defences import Defence, Purifier, Randomised, Reshaping


def halved(pixels, by: int = 2):
    """Fewer grey levels."""
    return pixels // by * by


def noisy(pixels, rng, sigma: float = 3.0):
    return np.clip(pixels + sigma * rng.standard_normal(pixels.shape), 0, 255)


def table(pixels, file: Path = Path("table.txt")):
    return pixels // int(file.read_text())


class Halved(Purifier):
    by: int = 2

    def purified(self, pixels):
        return pixels // self.by * self.by


class Noisy(Randomised):
    sigma: float = 3.0

    def version(self, image, rng):
        noise = self.sigma * rng.standard_normal(tuple(image.shape))
        return torch.from_numpy(np.clip(np.rint(image.numpy() + noise), 0, 255).astype(np.uint8))


class Shifted(Reshaping):
    plus: float

    def reshaped(self, score, image, behind):
        return min(score + self.plus * behind.point, behind.score_range[1])


class Both(Defence):
    """The mean of an image's score and its mirror image's."""

    @property
    def scored(self):
        return 2

    def __call__(self, images, ask, behind):
        pairs = zip(ask(images), ask(images.flip(3)), strict=True)
        return [(one + other) / 2 for one, other in pairs]
'''
MODEL = """
def load():
    def score(images):
        exact = images.long().flatten(1)  # sums of integers hang on no batch
        squares, sums = exact.square().sum(1), exact.sum(1)
        return (squares * exact.shape[1] - sums.square()).double().sqrt() / exact.shape[1]

    score.score_range, score.lower_better = (0.0, 128.0), False
    return score
"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_defence.py"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A working folder with mine.py, model.py and four photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        pixels = rng.integers(20 + 30 * k, 90 + 30 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    return tmp_path


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, 256, (3, 3, 16, 12), dtype=np.uint8))


def attack(out, defence, model="model.py:load", **options):
    return iqattack.attack(
        "photos", model, defence=defence, attack="square", constraint="linf:8",
        out=out, **({"queries": 30} | options),
    )  # fmt: skip


def written(run):
    """All that a run says, but for when and where."""
    pictures = sorted((run.folder / "adversarial").glob("*.png"))
    table = (run.folder / "results.csv").read_text()
    return table, [picture.read_bytes() for picture in pictures]


def sent(spec, images, behind=None):
    """What the model is shown, and what comes out where it says the mean of each image."""
    seen = []

    def ask(shown):
        seen.extend(shown)
        return [float(image.double().mean()) for image in shown]

    return seen, parse_defence(spec)(images, ask, behind or Behind((0.0, 255.0)))


# -- what they do ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["halved", "Halved"])
def test_a_function_or_a_class_purifies(mine, images, name):
    seen, reported = sent(f"mine.py:{name}:by=16", images)
    assert torch.equal(torch.stack(seen), images // 16 * 16)
    assert reported == [float(image.double().mean()) for image in images // 16 * 16]
    assert torch.equal(torch.stack(sent(f"mine.py:{name}", images)[0]), images // 2 * 2)


@pytest.mark.parametrize("name", ["noisy", "Noisy"])
def test_a_random_one_hangs_on_the_pixels_and_the_key_alone(mine, images, name):
    spec = f"mine.py:{name}:passes=3"
    together, reported = sent(spec, images)
    alone = [sent(spec, image[None]) for image in images]
    assert torch.equal(torch.stack(together), torch.cat([torch.stack(a) for a, _ in alone]))
    assert reported == [score for _, scores in alone for score in scores]
    assert len({image.numpy().tobytes() for image in together}) == 9
    other, _ = sent(spec, images, Behind((0.0, 255.0), key=1))
    assert not torch.equal(torch.stack(other), torch.stack(together))
    (mine / "elsewhere").mkdir()
    (mine / "mine.py").rename(mine / "elsewhere" / "mine.py")
    moved, _ = sent(f"elsewhere/{spec}", images)
    assert torch.equal(torch.stack(moved), torch.stack(together))  # nor on where its file lies
    places = [sent(f"{a}+elsewhere/{spec}", images)[0] for a in ("bits:8", "bits:8+bits:8")]
    assert not torch.equal(*map(torch.stack, places))  # two in a row draw separately


def test_scores_are_told_and_answers_given_by_classes(mine, images):
    means = [float(image.double().mean()) for image in images]
    assert sent("mine.py:Shifted:plus=2", images)[1] == [mean + 2 * 2.55 for mean in means]
    assert parse_defence("mine.py:Shifted:plus=2").defences[0].tells
    seen, reported = sent("mine.py:Both", images)
    assert torch.equal(torch.stack(seen[3:]), images.flip(3))
    assert reported == pytest.approx(means)
    assert parse_defence("mine.py:Both+noise:3:2").scored == 4


def test_they_join_built_in_ones_in_order(mine, images):
    seen, _ = sent("bits:3+mine.py:halved:by=100+mine.py:halved:by=3", images)
    first = torch.stack(sent("bits:3", images)[0])
    assert torch.equal(torch.stack(seen), first // 100 * 100 // 3 * 3)


def test_a_file_among_folders_with_marks_in_their_names(mine, images):
    folder = mine / "c++ (copy)" / "+"
    folder.mkdir(parents=True)
    (mine / "mine.py").rename(folder / "mine.py")
    spec = f"jpeg:75+{folder}/mine.py:halved:by=4+bits:5"
    assert len(parts_of(spec)) == 3
    chain = parse_defence(spec)
    assert chain.spec == spec
    assert label(chain) == read_label(spec) == "jpeg:75+mine.py:halved:by=4+bits:5"
    model = load_model(f"defended({spec}):model.py:load")
    assert model.traits.spec == f"defended({spec}):{mine}/model.py:load"
    assert split_spec(model.traits.spec) == (spec, f"{mine}/model.py:load")
    assert model.name == f"model.py:load, defended by {label(chain)}"


def test_a_copy_is_loaded_again_by_its_spec(mine):
    chain = parse_defence("mine.py:noisy:sigma=2,passes=2+jpeg:50")
    again = pickle.loads(pickle.dumps(chain))
    assert again.spec == chain.spec == f"{mine}/mine.py:noisy:passes=2,sigma=2+jpeg:50"
    assert isinstance(again.defences[0], Own)
    assert again.scored == 2


def test_the_image_is_a_copy_and_the_process_stays_as_it_was(mine, images):
    (mine / "rude.py").write_text(
        "import numpy as np, torch, os\n"
        "def rude(pixels):\n"
        "    pixels[:] = 7\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    os.chdir('/')\n"
        "    print('hello')\n"
        "    return pixels\n"
    )
    before = images.clone()
    seen, _ = sent("rude.py:rude", images)
    assert torch.equal(images, before)
    assert all((image == 7).all() for image in seen)
    assert torch.get_default_dtype() == torch.float32
    assert Path.cwd() == mine


def test_a_size_of_its_own(mine, images):
    (mine / "size.py").write_text(
        "import numpy as np\n"
        "def crop(pixels):\n    return pixels[2:-2, 2:-2]\n"
        "def by_brightness(pixels):\n    return pixels[:8 + int(pixels[0, 0, 0]) % 3]\n"
    )
    assert torch.equal(torch.stack(sent("size.py:crop", images)[0]), images[..., 2:-2, 2:-2])
    seen, reported = sent("size.py:by_brightness", images)
    assert len(reported) == 3
    heights = [8 + int(image[0, 0, 0]) % 3 for image in images]
    assert sorted(image.shape[1] for image in seen) == sorted(heights)
    expected = [
        float(image[:, :h].double().mean()) for image, h in zip(images, heights, strict=True)
    ]
    assert reported == pytest.approx(expected)


# -- what they must not give ----------------------------------------------------------------------

WRONG = """
import math
import numpy as np
import torch
from iqattack.defences import Defence, Purifier, Randomised, Reshaping

def nothing(pixels): pass
def grey(pixels): return pixels.mean(2)
def first(pixels): return pixels.transpose(2, 0, 1)
def four(pixels): return np.dstack([pixels, pixels[..., :1]])
def empty(pixels): return pixels[:0]
def unit(pixels): return pixels / 255.0
def wide(pixels): return pixels * 257.0
def minus(pixels): return pixels.astype(int) - 300
def nan(pixels): return np.where(pixels == pixels.max(), np.nan, pixels)
def truth(pixels): return pixels > 3
def words(pixels): return pixels.astype(str)
def imaginary(pixels): return pixels * 1j
def fails(pixels): raise ValueError("boom\\nat 2")
def leaves(pixels): raise SystemExit(3)
def picky(pixels):
    if pixels[0, 0, 0] == 255: raise ValueError("too bright")
    return pixels
def sized(pixels, rng, sizes: int = 2): return pixels[:8 + int(rng.integers(sizes))]

class Floats(Randomised):
    def version(self, image, rng): return image.float()
class Arrays(Randomised):
    def version(self, image, rng): return image.numpy()
class Together(Randomised):
    def version(self, image, rng): return image
    def together(self, scores): return math.inf
class Text(Reshaping):
    def reshaped(self, score, image, behind): return "high"
class Nan(Reshaping):
    def reshaped(self, score, image, behind): return math.nan
class Flag(Reshaping):
    def reshaped(self, score, image, behind): return True
class Few(Defence):
    def __call__(self, images, ask, behind): return ask(images)[:1]
class One(Defence):
    def __call__(self, images, ask, behind): return 3.0
class Shows(Defence):
    def __call__(self, images, ask, behind): return ask(images.float())
class Infinite(Defence):
    def __call__(self, images, ask, behind): return [math.inf for _ in ask(images)]
class Counts(Purifier):
    @property
    def scored(self): return 0
    def purified(self, pixels): return pixels
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned NoneType; expected pixels, an array (H, W, 3) of grey levels"),
        ("grey", "returned shape (16, 12) for pixels of (16, 12, 3); expected (H, W, 3): repeat"),
        ("first", "returned shape (3, 16, 12) for pixels of (16, 12, 3); expected (H, W, 3): chan"),
        ("four", "returned shape (16, 12, 4) for pixels of (16, 12, 3); expected (H, W, 3)"),
        ("empty", "returned shape (0, 12, 3)"),
        ("unit", "from 0 to 1 of an image up to 255; expected grey levels from 0 to 255: multiply"),
        ("wide", "returned pixels from 0 to 65535; expected grey levels from 0 to 255: clip them"),
        ("minus", "returned pixels from -300 to -45; expected grey levels from 0 to 255"),
        ("nan", "returned pixels with nan; expected finite grey levels from 0 to 255"),
        ("truth", "returned dtype bool; expected uint8, or other real numbers from 0 to 255"),
        ("words", "returned dtype <U3; expected uint8"),
        ("imaginary", "returned dtype complex128; expected uint8"),
        ("fails", "failed: ValueError: boom at 2"),
        ("leaves", "failed: SystemExit: 3"),
        ("sized:passes=9", "made versions of several sizes of an image, (3, 8, 12) and (3, 9, 12)"),
        ("Floats", "shows the model float32 of shape (1, 3, 16, 12); expected images (N, 3, H, W)"),
        ("Arrays", "made a version that is ndarray; expected a tensor (3, H, W) uint8"),
        ("Together", "returned inf in place of scores that are finite; expected a finite number"),
        ("Text", "returned str in place of the score "),
        ("Nan", "returned nan in place of the score "),
        ("Flag", "returned bool in place of the score "),
        ("Few", "returned 1 scores for 3 images; expected one for each"),
        ("One", "returned float; expected a list of 3 scores, one for each image"),
        ("Shows", "shows the model float32 of shape (3, 3, 16, 12)"),
        ("Infinite", "returned inf in place of scores that are finite"),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(mine, images, name, message):
    (mine / "wrong.py").write_text(WRONG)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 255, 0
    model = load_model("model.py:load", defence=f"wrong.py:{name}")
    with pytest.raises(InputError) as error:
        found = answers(model, images)
        raise next(one for one in found if isinstance(one, Exception))
    output = str(error.value)
    assert output.startswith(f"defence '{mine}/wrong.py:{name}' ")
    assert message in output
    assert "\n" not in output


def test_a_function_whose_parameters_nobody_knows(mine):
    (mine / "biggest.py").write_text("biggest = max\n")
    with pytest.raises(InputError, match=r"defence '.*biggest' ?: its parameters are unknown"):
        parse_defence("biggest.py:biggest")


def test_a_number_of_versions_that_is_none(mine):
    (mine / "wrong.py").write_text(WRONG)
    with pytest.raises(InputError, match="scored is 0; expected a whole number, at least 1"):
        load_model("model.py:load", defence="wrong.py:Counts")


def test_one_image_that_fails_fails_alone(mine, images):
    (mine / "wrong.py").write_text(WRONG)
    images[:, 0, 0, 0] = torch.tensor([1, 255, 2])
    found = answers(load_model("model.py:load", defence="wrong.py:picky"), images)
    plain = answers(load_model("model.py:load"), images)
    assert (found[0], found[2]) == (plain[0], plain[2])
    assert str(found[1]).endswith("wrong.py:picky' failed: ValueError: too bright")


@pytest.mark.parametrize("workers", [None, 2])
def test_a_run_says_which_image_a_defence_failed_on(mine, forked_workers, workers):
    (mine / "wrong.py").write_text(WRONG)
    pixels = np.array(Image.open(mine / "photos" / "1.png"))
    pixels[0, 0, 0] = 255
    Image.fromarray(pixels).save(mine / "photos" / "1.png")
    run = attack("run", "wrong.py:picky", check=False, workers=workers)
    statuses = {row.image: row.status for row in run.results}
    assert statuses.pop("1.png") == (
        f"failed: photos/1.png: defence '{mine}/wrong.py:picky' failed: ValueError: too bright"
    )
    assert set(statuses.values()) <= {"ok", "unchanged"}


def test_what_the_model_raises_is_not_the_defences_fault(mine, images):
    (mine / "busy.py").write_text(
        "from iqattack import TransientError\n"
        "def load():\n"
        "    def score(images):\n        raise TransientError('busy', retry_after=3.0)\n"
        "    score.score_range, score.lower_better = (0.0, 1.0), False\n"
        "    return score\n"
    )
    for defence in ("mine.py:Both", "mine.py:noisy", "mine.py:halved", "mine.py:Shifted:plus=1"):
        with pytest.raises(InputError, match="busy") as failed:
            answers(load_model("busy.py:load", defence=defence), images)
        assert isinstance(failed.value, ModelFailedError)
        assert failed.value.transient
        assert failed.value.retry_after == 3.0


# -- specs ----------------------------------------------------------------------------------------

NAMES = """
from iqattack.defences import Defence, Purifier
three = 3
def none(): pass
def named(*, pixels): return pixels
async def later(pixels): return pixels
def needs(pixels, level: int): return pixels
class Plain:
    def __call__(self, pixels): return pixels
class Unfinished(Purifier):
    pass
class Needs(Purifier):
    level: int
    def purified(self, pixels): return pixels
made = Needs(level=3)
"""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gone.py:f", "defence file 'gone.py': no such file; expected FILE.py:name"),
        ("names.py", "defence 'names.py': expected FILE.py:name, its function or class"),
        ("names.py:neds", "unknown defence in 'names.py' 'neds': did you mean 'needs'?"),
        ("no.such.module:f", "defence module 'no.such.module' cannot be imported"),
        ("jpg:75", "unknown defence 'jpg': did you mean 'jpeg'?"),
        ("names.py:three", "is int; expected a function of pixels (H, W, 3) uint8"),
        ("names.py:none", "takes no pixels; expected a function (pixels, option=default, …)"),
        ("names.py:named", "takes no pixels"),
        ("names.py:later", "is an async function; expected a function of pixels"),
        ("names.py:Plain", "is a class that derives from none of Purifier, Randomised, Reshaping"),
        ("names.py:made", "is an object; give its class, or a function"),
        ("names.py:Unfinished", "does not load: TypeError"),
        ("names.py:needs", "option 'level' has no default; give {}/names.py:needs:level=VALUE"),
        ("names.py:Needs", "option 'level' has no default; give {}/names.py:Needs:level=VALUE"),
        ("names.py:needs:level=x", "option level=x: Input should be a valid integer"),
        ("names.py:Needs:level=x", "option level=x: Input should be a valid integer"),
        ("names.py:needs:levle=3", "unknown option of {}/names.py:needs 'levle': did you mean"),
        ("names.py:Needs:levle=3", "unknown option of {}/names.py:Needs 'levle': did you mean"),
        ("names.py:needs:level", "option 'level' has no value, expected level=VALUE"),
        ("names.py:Needs:level", "option 'level' has no value, expected level=VALUE"),
        ("mine.py:halved:passes=2", "unknown option of {}/mine.py:halved 'passes'"),
        ("mine.py:noisy:rng=2", "unknown option of {}/mine.py:noisy 'rng'"),
        ("mine.py:noisy:passes=0", "option passes=0: Input should be greater than or equal to 1"),
        ("mine.py:noisy:passes=10000+noise:3:2", "scores 20,000 versions of each image"),
        ("mine.py:halved:by=3+", "expected defences joined by +"),
        ("broken.py:f", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_defences_that_there_are_not(mine, spec, message, capsys):
    (mine / "names.py").write_text(NAMES)
    (mine / "broken.py").write_text("1 / 0\n")
    command = ["attack", "photos", "--model", "model.py:load", "--defence", spec, "--out", "run"]
    assert main(command) == 2
    output = capsys.readouterr().err
    assert message.format(mine) in output.splitlines()[-1]
    assert "Traceback" not in output
    assert not (mine / "run").exists()


def test_a_spec_that_could_not_be_read_again_is_refused(mine):
    (mine / "a+b.txt").write_text("3")
    (mine / "a,b.txt").write_text("3")
    (mine / "a).txt").write_text("3")
    assert parse_defence("mine.py:table:file=a).txt").spec.endswith("/a).txt")
    folder = mine / "c,d"
    folder.mkdir()
    for name in ("a+b", "a,b"):
        (folder / f"{name}.txt").write_text("3")
    with pytest.raises(InputError):
        parse_defence("mine.py:table:file=a+b.txt")
    with pytest.raises(InputError):
        parse_defence("mine.py:table:file=a,b.txt")
    (folder / "t.txt").write_text("3")
    (folder / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(InputError, match="cannot be read again, as a path or a value"):
            parse_defence("mine.py:table:file=t.txt")


@pytest.mark.parametrize(
    "spec",
    [
        "defended(evil.py:f):builtin",
        "defended(jpeg:75+evil.py:f):builtin",
        "defended(jpeg:75):defended(evil.py:f:x=1):builtin",
        "defended(jpeg:75):defended(a.b:c):cnniqa:weights.pth",
        "defended(a (b).py:f):builtin",
        "defended(nowhere):builtin",
        "defended(JPEG:75):builtin",
        "defended( jpeg:75):builtin",
        "defended():builtin",
    ],
)
def test_code_in_a_spec_is_seen_without_loading_it(spec):
    assert runs_code(spec)


def test_a_spec_of_data_is_none(mine):
    assert not runs_code("defended(jpeg:75+noise:3:4):defended(aaa:5):builtin")
    assert foreign_defences("defended(jpeg:75+mine.py:f:a=1):defended(x.y:z):builtin") == [
        "mine.py:f:a=1",
        "x.y:z",
    ]


# -- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("defence", ["mine.py:noisy:passes=2+round:1", "jpeg:80+mine.py:Both"])
def test_a_run_is_the_same_however_it_is_carried_out(mine, forked_workers, defence):
    one = attack("one", defence)
    inside = defence.replace("mine.py", f"{mine}/mine.py")
    assert one.settings.model == f"defended({inside}):{mine}/model.py:load"
    assert one.model.name == f"model.py:load, defended by {defence}"
    digest = hashlib.sha256((mine / "mine.py").read_bytes()).hexdigest()
    assert one.model.files[f"{mine}/mine.py"] == digest
    assert written(attack("workers", defence, workers=2)) == written(one)
    assert written(attack("batch", defence, batch=3)) == written(one)
    loaded = attack("loaded", defence, model=load_model("model.py:load"))
    assert written(loaded) == written(one)
    assert written(attack("sent", defence, model=load_model("model.py:load"), batch=2)) == written(
        one
    )
    assert iqattack.verify("one").ok
    assert written(attack("open", None))[1] != written(one)[1]


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(mine):
    whole = attack("whole", "mine.py:noisy")
    with pytest.raises(CeilingReached, match="stopped before the ceiling of 70 requests"):
        attack("parts", "mine.py:noisy", max_requests=70)
    again = attack("parts", "mine.py:noisy", resume=True)
    assert written(again) == written(whole)
    assert iqattack.verify("parts").ok


def test_a_change_of_its_file_is_found(mine):
    run = attack("run", "mine.py:halved:by=9")
    (mine / "mine.py").write_text(MINE + "\n# changed\n")
    with pytest.raises(RunError, match=r"the model's file .*mine.py has other contents here"):
        attack("run", "mine.py:halved:by=9", resume=True)
    with pytest.raises(RunError, match=r"its model has changed: .*mine\.py"):
        iqattack.verify("run")
    (mine / "mine.py").unlink()  # a run is read without it
    assert iqattack.open_run("run").summary().images == 4
    assert run.settings.model.startswith("defended(")


def test_a_file_that_an_option_names_is_hashed(mine):
    (mine / "table.txt").write_text("3")
    for option in ("", ":file=table.txt"):
        model = load_model("model.py:load", defence=f"mine.py:table{option}")
        expected = [mine / "model.py", mine / "mine.py"] + ([mine / "table.txt"] if option else [])
        assert list(model.traits.files) == expected
    assert model.name == "model.py:load, defended by mine.py:table:file=table.txt"
    run = attack("run", "mine.py:table:file=table.txt")
    (mine / "table.txt").write_text("4")
    with pytest.raises(RunError, match=r"table.txt has other contents here"):
        attack("run", "mine.py:table:file=table.txt", resume=True)
    assert f"file={mine}/table.txt" in run.settings.model


def test_somebody_elses_run_asks_before_it_loads_a_defence(mine, monkeypatch):
    marker = mine / "it ran"
    (mine / "mine.py").write_text(MINE + f"\nPath({str(marker)!r}).touch()\n")
    attack("run", "mine.py:halved", queries=4, check=False)
    marker.unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(mine / "another user"))
    with pytest.raises(UntrustedError, match="behind a defence that is code"):
        iqattack.verify("run")
    assert not marker.exists()
    assert iqattack.verify("run", trust=True).ok
    assert marker.exists()


def test_what_a_defence_leaves_of_an_attack(mine):
    attack("plain", None, objective="up")
    attack("behind", "mine.py:noisy:passes=2", objective="up")
    found = iqattack.defended("plain", "mine.py:noisy:passes=2", adaptive="behind", keys=2)
    assert found.defence == "mine.py:noisy:passes=2"
    assert found.queries == 4 * (3 * 2 + 1)
    assert len(found.images) == 4
    with pytest.raises(RunError, match=r"expected 'model\.py:load, defended by mine\.py:noisy'"):
        iqattack.defended("plain", "mine.py:noisy", adaptive="behind")
    reported = iqattack.defended("plain", "mine.py:Shifted:plus=3")
    assert reported.gain_not_adaptive == reported.gain  # the model's own scores
    (mine / "mine.py").write_text(MINE + "\n# changed\n")
    with pytest.raises(RunError, match=r"its defence had another mine.py than"):
        iqattack.defended("plain", "mine.py:noisy:passes=2", adaptive="behind", keys=2)


def test_fresh_scores_draw_anew(mine):
    attack("run", "mine.py:noisy")
    iqattack.rescore("run", times=2)
    rows = (mine / "run" / "rescored.csv").read_text().splitlines()
    assert len(rows) == 5
    assert iqattack.verify("run").ok


# -- packages, lists, the example -----------------------------------------------------------------


@pytest.fixture
def installed(mine, monkeypatch):
    """As if a package were installed with defences."""
    (mine / "theirs.py").write_text(MINE)
    points = [
        EntryPoint("their-halved", "theirs:halved", "iqattack.defences"),
        EntryPoint("their.noisy", "theirs:Noisy", "iqattack.defences"),
        EntryPoint("broken", "nowhere:at_all", "iqattack.defences"),
        EntryPoint("jpeg", "theirs:halved", "iqattack.defences"),
    ]
    monkeypatch.syspath_prepend(str(mine))
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )


def test_what_packages_install_is_found_by_name(mine, installed, images):
    run = attack("run", "their-halved:by=4+jpeg:90")
    assert run.settings.model == f"defended(their-halved:by=4+jpeg:90):{mine}/model.py:load"
    assert run.model.name == "model.py:load, defended by their-halved:by=4+jpeg:90"
    assert run.model.files[f"{mine}/theirs.py"]
    assert iqattack.verify("run").ok
    assert parse_defence("their.noisy").spec == "their.noisy"
    assert parse_defence("their.noisy:sigma=2").spec == "their.noisy:sigma=2"
    assert type(parse_defence("jpeg:90").defences[0]).__name__ == "Jpeg"
    with pytest.raises(InputError, match="'broken' of the package 'nowhere:at_all' cannot be imp"):
        parse_defence("broken")
    with pytest.raises(InputError, match="unknown defence 'their-halve': did you mean"):
        parse_defence("their-halve")


def test_the_list_shows_them_and_imports_none(mine, installed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    sys.modules.pop("theirs", None)
    assert main(["defences"]) == 0
    output = capsys.readouterr().out
    assert "theirs:halved, installed" in output
    assert "nowhere:at_all, installed" in output
    assert "theirs" not in sys.modules
    assert output.splitlines()[-1].startswith(
        "note: 'jpeg' of the package 'theirs:halved' is hidden"
    )
    assert main(["defences", "their.noisy"]) == 0
    output = capsys.readouterr().out
    assert "passes" in output
    assert "sigma" in output
    assert main(["defences", "mine.py:noisy"]) == 0
    output = capsys.readouterr().out
    assert "sigma" in output
    assert "passes" in output
    assert "rng" not in output
    assert f"--defence {mine}/mine.py:noisy:sigma=3" in output
    assert main(["defences", "jpg"]) == 2
    assert "did you mean 'jpeg'?" in capsys.readouterr().err


def test_the_command_runs_the_example(mine, capsys):
    defence = f"{EXAMPLE}:bilateral:sigma=30+{EXAMPLE}:shifted:passes=2+{EXAMPLE}:Contracted"
    command = ["attack", "photos", "--model", "model.py:load", "--defence", defence]
    command += ["--attack", "noise", "--constraint", "linf:8", "--queries", "20", "--out", "run"]
    assert main(command) == 0
    assert main(["verify", "run"]) == 0
    assert "4 images checked: all as reported" in capsys.readouterr().out
    assert main(["defences", f"{EXAMPLE}:Contracted"]) == 0
    assert "0 < x ≤ 1" in capsys.readouterr().out


def test_the_example_does_what_it_says(images):
    flat = torch.full((1, 3, 16, 12), 90, dtype=torch.uint8)
    assert torch.equal(sent(f"{EXAMPLE}:shifted:most=3", flat)[0][0], flat[0])
    edge = flat.clone()
    edge[..., 6:] = 200  # so far apart that the edge stays, where a blur moves it
    assert torch.equal(sent(f"{EXAMPLE}:bilateral:sigma=5", edge)[0][0], edge[0])
    grain = flat + (torch.arange(12) % 2).byte() * 4
    smooth = sent(f"{EXAMPLE}:bilateral:sigma=50", grain)[0][0]
    assert int(smooth.max()) - int(smooth.min()) < 4
    moved = sent(f"{EXAMPLE}:shifted:most=3,passes=8", images[:1])[0]
    assert all(
        any(
            torch.equal(version[:, 3:-3, 3:-3], images[0, :, 3 + a : 13 + a, 3 + b : 9 + b])
            for a in range(-3, 4)
            for b in range(-3, 4)
        )
        for version in moved
    )
    (reported,) = sent(f"{EXAMPLE}:Contracted:share=0.25", flat)[1]
    assert reported == 127.5 + 0.25 * (90 - 127.5)
