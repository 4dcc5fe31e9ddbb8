import itertools
import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from iqattack.errors import InputError, TransientError
from iqattack.images import ImageSet
from iqattack.models import Traits, load_model
from iqattack.probing import Verdict, probe
from iqattack.probing.scores import common_step, suggested_range

from .conftest import Counted, contrast

load = partial(load_model, declared=False)


def found(probed, topic):
    """The finding of a topic; there must be exactly one."""
    (finding,) = [finding for finding in probed.findings if finding.topic == topic]
    return finding


@pytest.fixture(scope="module")
def sound():
    return probe(load_model("builtin"))


def test_the_built_in_model_is_sound(sound):
    assert sound.ok
    assert {finding.verdict for finding in sound.findings} == {Verdict.OK}
    assert sound.options == () and sound.unasked == ()
    assert "+0.91" in found(sound, "direction").value  # as its model card says
    assert found(sound, "order of colours").value.startswith("probably RGB")
    assert found(sound, "smallest side").value == "64×64 has a score; declared: 64"


def test_every_image_sent_is_counted(model):
    counted = Counted(contrast)
    probed = probe(model(counted))
    assert probed.queries == counted.images <= 400


def test_a_model_made_for_bgr(builtin, model):
    probed = probe(model(lambda images: builtin(images.flip(1)), (0.0, 100.0), min_size=64))
    order = found(probed, "order of colours")
    assert order.verdict is Verdict.PROBLEM and order.value.startswith("probably BGR")
    assert probed.options == ("--input bgr",)


def test_bgr_that_the_input_convention_undoes(builtin, model):
    bgr = model(lambda images: builtin(images.flip(1)), (0.0, 100.0), min_size=64)
    probed = probe(model(lambda images: bgr(images.flip(1)), (0.0, 100.0), min_size=64))
    assert found(probed, "order of colours").value.startswith("probably RGB")


def test_a_model_that_is_blind_to_colour(model):
    probed = probe(
        model(lambda images: contrast(images.float().mean(1, True).expand(-1, 3, -1, -1)))
    )
    assert found(probed, "red and blue swapped").value == "no change in the scores"
    assert not [finding for finding in probed.findings if finding.topic == "order of colours"]


def test_random_scores(model):
    rng = torch.Generator().manual_seed(1)
    noisy = model(
        lambda images: contrast(images) + torch.randn(len(images), generator=rng).double()
    )
    probed = probe(noisy)
    noise = found(probed, "determinism")
    assert noise.verdict is Verdict.PROBLEM
    deviation = float(noise.value.split()[6])
    assert deviation == pytest.approx(1.0, abs=0.5)  # 18 degrees of freedom
    assert f"{100 * deviation / 60:.1f} % of the range" in noise.value
    # Noise is not taken for dependence on the batch.
    assert probed.problems == (noise,)


def test_scores_that_depend_on_the_batch(model):
    def score(images):
        scores = contrast(images)
        return scores + 0.1 * (scores - scores.mean())

    probed = probe(model(score))
    assert found(probed, "batch").verdict is Verdict.PROBLEM
    assert found(probed, "position in the batch").verdict is Verdict.OK
    assert probed.options == ("--batch 1",)


@pytest.mark.parametrize(
    ("fraction", "verdict"), [(1e-7, Verdict.OK), (1e-4, Verdict.NOTE), (1e-2, Verdict.PROBLEM)]
)
def test_how_much_dependence_and_noise_matter(model, fraction, verdict):
    """As fractions of the range, which is 60."""
    by_size = found(probe(model(lambda x: contrast(x) + 15 * fraction * len(x))), "batch size")
    assert by_size.verdict is verdict  # batches of 8 and 4
    assert bool(by_size.option) == (verdict is Verdict.PROBLEM)
    turns = itertools.count()
    noisy = probe(model(lambda x: contrast(x) + 120 * fraction * (next(turns) % 2)))
    assert found(noisy, "determinism").verdict is verdict


def test_some_scores_that_are_missing_in_a_batch(model):
    def score(images):
        scores = contrast(images)
        scores[2:] = torch.nan
        return scores

    probed = probe(model(score))
    assert "2 of 4 images have no score in one call" in found(probed, "batch").value
    assert probed.options == ("--batch 1",)


def test_scores_that_depend_on_the_position_alone(model):
    probed = probe(model(lambda images: contrast(images) + 0.5 * torch.arange(len(images))))
    assert "1.5 (2.5 % of the range)" in found(probed, "position in the batch").value
    assert found(probed, "batch size").verdict is Verdict.OK
    assert probed.options == ("--batch 1",)


def test_scores_that_depend_on_the_batch_size_alone(model):
    probed = probe(model(lambda images: contrast(images) + 0.5 * len(images)))
    assert "2 (3.3 % of the range)" in found(probed, "batch size").value  # 8 and 4
    assert found(probed, "position in the batch").verdict is Verdict.OK


def test_one_score_for_a_batch(model):
    probed = probe(model(lambda images: contrast(images).mean()))
    batch = found(probed, "batch")
    assert batch.verdict is Verdict.PROBLEM  # it may be a function of one picture
    assert "--input single" in batch.remedy and "--batch 1" in batch.remedy
    assert not probed.options


def test_a_function_of_one_picture_that_takes_a_batch_of_one_for_it(model):
    probed = probe(
        model(lambda images: float(np.abs(np.diff(images, axis=1)).mean()), input="numpy")
    )
    assert found(probed, "batch").verdict is Verdict.PROBLEM


@pytest.mark.parametrize("decimals", [1, 3, 4, 6])
def test_scores_rounded_to_decimals(decimals):
    scores = np.random.default_rng(0).random(300) * 90
    step = common_step(np.unique(np.round(scores, decimals)))
    assert step == pytest.approx(10.0**-decimals)
    assert common_step(np.unique(np.round(scores, decimals).astype(np.float32))) == (
        pytest.approx(10.0**-decimals) if decimals == 1 else None
    )
    assert common_step(np.sort(scores)) is None


@pytest.mark.parametrize(
    ("step", "verdict"), [(0.1, Verdict.NOTE), (0.25, Verdict.NOTE), (2.0, Verdict.PROBLEM)]
)
def test_rounded_scores(model, step, verdict):
    resolution = found(probe(model(lambda x: (contrast(x) / step).round() * step)), "resolution")
    assert resolution.verdict is verdict
    assert resolution.value.startswith(f"multiples of {step:g} ")


def test_float32_scores(model):
    assert "float32" in found(probe(model(lambda x: contrast(x).float())), "resolution").value
    assert "float32" not in found(probe(model()), "resolution").value


def test_scores_outside_the_range(model):
    probed = probe(model(score_range=(0.0, 1.0)))
    spread = found(probed, "score range")
    assert spread.verdict is Verdict.PROBLEM and "outside: 24 of 24" in spread.value
    assert spread.option.startswith("--score-range ")


def test_scores_that_fill_little_of_the_range(builtin, model):
    probed = probe(model(lambda x: builtin(x) / 100, (0.0, 100.0), min_size=64))
    spread = found(probed, "score range")
    assert spread.verdict is Verdict.PROBLEM and "fills 0.85 %" in spread.value
    assert "--score-range 0,1" in probed.options


def test_constant_scores(model):
    probed = probe(model(lambda images: contrast(images) * 0 + 50))
    assert found(probed, "score range").verdict is Verdict.PROBLEM
    assert "constant: 50 for all 24" in found(probed, "score range").value


def test_the_wrong_direction(builtin, model):
    probed = probe(model(builtin, (0.0, 100.0), lower_better=True, min_size=64))
    assert found(probed, "direction").verdict is Verdict.PROBLEM
    assert probed.options == ("--no-lower-better",)


def test_a_direction_that_the_labels_do_not_show(model):
    """Scores of a hash of the pixels."""

    def score(images):
        return (images.double().sum((1, 2, 3)) * 0.61803398875) % 1.0

    probed = probe(model(score, (0.0, 1.0)))
    assert found(probed, "direction").verdict is Verdict.NOTE


def test_a_model_that_fails_below_128_pixels(model):
    def score(images):
        if min(images.shape[-2:]) < 128:
            raise RuntimeError("kernel size larger than input")
        return contrast(images)

    smallest = found(probe(model(score)), "smallest side")
    assert smallest.verdict is Verdict.NOTE
    assert smallest.value.startswith("128×128 has a score; declared: 1; 127×127: ")
    assert "kernel size larger than input" in smallest.value
    assert "min_size 128" in smallest.remedy


def test_a_model_that_is_not_finite_below_100_pixels(model):
    def score(images):
        return contrast(images) * (1.0 if min(images.shape[-2:]) >= 100 else float("nan"))

    assert "99×99: the score is nan" in found(probe(model(score)), "smallest side").value


@pytest.mark.parametrize(("side", "message"), [(224, "bad size"), (300, "expected 300x300")])
def test_a_model_of_one_size(model, side, message):
    def score(images):
        if images.shape[-2:] != (side, side):
            raise ValueError(message)
        return contrast(images)

    probed = probe(model(score))
    assert found(probed, "sizes").verdict is Verdict.PROBLEM
    assert probed.options == (f"--input size={side}",)
    assert found(probed, "batch").value == "identical scores"  # the rest was asked at that size


@pytest.mark.parametrize(
    "message", ["expected 300x200", "expected height 200 and width 300", "(1, 3, 200, 300) wanted"]
)
def test_a_model_of_one_size_that_is_not_square(model, message):
    def score(images):
        if images.shape[-2:] != (200, 300):
            raise ValueError(message)
        return contrast(images)

    probed = probe(model(score))
    assert found(probed, "sizes").value.startswith("300×200 alone has scores")
    assert probed.options == ("--input size=300x200",)


def test_what_is_printed_keeps_the_input_that_was_given(model):
    def score(images):
        assert images.is_floating_point() and images.shape[-2:] == (224, 224)
        return contrast(255 * images)

    probed = probe(model(score, input="float01"))
    assert probed.options == ("--input size=224,float01",)
    assert probe(model(score, input=probed.options[0].removeprefix("--input "))).ok


def test_all_terms_of_input_in_one_option(builtin, model):
    """A model of one size and the other order."""

    def score(images):
        if images.shape[-2:] != (224, 224):
            raise ValueError("bad size")
        return builtin((255 * images).round().byte().flip(1))

    probed = probe(model(score, (0.0, 100.0), input="float01", min_size=64))
    assert probed.options == ("--input size=224,bgr,float01",)


def test_an_order_that_was_given_is_taken_back(builtin, model):
    probed = probe(model(builtin, (0.0, 100.0), input="bgr", min_size=64))
    assert found(probed, "order of colours").value.startswith("probably RGB")
    assert probed.options == ("--input rgb",)


def test_a_sign_of_bgr_that_is_not_sure_gives_no_option(model):
    """Blue moves the scores, which follow the labels less with red in its place."""

    def score(images):
        weights = images.new_tensor([0.1, 0.5, 0.4], dtype=torch.float64)[:, None, None]
        luma = (images.double() * weights).sum(1)
        return (luma[..., 1:] - luma[..., :-1]).abs().mean((1, 2))

    order = found(probe(model(score)), "order of colours")
    assert order.value.startswith("probably BGR")
    assert bool(order.option) == (order.verdict is Verdict.PROBLEM)


def test_a_model_of_the_pictures_size_alone(model):
    def score(images):
        return contrast(images) if images.shape[-2:] == (256, 256) else images.new_zeros(2, 2)

    probed = probe(model(score))
    assert found(probed, "sizes").verdict is Verdict.NOTE
    assert probed.options == ("--input size=256",)


def test_a_model_that_runs_out_of_memory(model):
    def score(images):
        if images.numel() > 3 * 100_000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return contrast(images)

    probed = probe(model(score))
    assert "out of memory" in found(probed, "larger pictures").value
    assert probed.options == ("--batch 1", "--resize 256")


def test_sides_that_must_be_even(model):
    def score(images):
        if images.shape[-1] % 2 or images.shape[-2] % 2:
            raise ValueError("expected even sides")
        return contrast(images)

    probed = probe(model(score))
    assert found(probed, "multiples").value.startswith("sides must be multiples of 2; ")
    assert found(probed, "smallest side").verdict is Verdict.OK


@pytest.mark.parametrize("multiple", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("least", [0, 128])
def test_sides_that_must_be_multiples(model, multiple, least):
    def score(images):
        height, width = images.shape[-2:]
        if height % multiple or width % multiple or min(height, width) < least:
            raise ValueError("sizes of tensors must match")
        return contrast(images)

    probed = probe(model(score))
    row = found(probed, "multiples")
    assert row.verdict is Verdict.NOTE
    assert row.value.startswith(f"sides must be multiples of {multiple}; ")
    assert "sizes of tensors must match" in row.value
    works = max(multiple, least, 8)
    assert found(probed, "smallest side").value.startswith(f"{works}×{works} has a score")
    assert "odd pictures" not in {finding.topic for finding in probed.findings}
    assert probed.ok and not probed.options


def test_pictures_that_are_no_multiples(model):
    def score(images):
        if images.shape[-1] % 32 or images.shape[-2] % 32:
            raise ValueError("expected multiples of 32")
        return contrast(images)

    pictures = [torch.randint(256, (3, 150, 210)).byte() for _ in range(3)]
    probed = probe(model(score, (0.0, 200.0)), pictures)
    assert "probed at 192×128" in found(probed, "sizes").value
    assert found(probed, "multiples").value.startswith("sides must be multiples of 32; ")


def test_a_largest_size_is_no_multiple(model):
    def score(images):
        if images.shape[-1] > 512 or images.shape[-2] in range(250, 256):
            raise ValueError("no")
        return contrast(images)

    assert "multiples" not in {finding.topic for finding in probe(model(score)).findings}


def test_scores_that_are_not_finite(model):
    nan = probe(model(lambda images: contrast(images) * float("nan")))
    assert found(nan, "non-finite scores").verdict is Verdict.PROBLEM
    some = probe(model(lambda images: contrast(images).where(contrast(images) > 5, torch.inf)))
    assert found(some, "non-finite scores").verdict is Verdict.PROBLEM
    assert "the score is inf" in found(some, "non-finite scores").value
    assert found(some, "batch").value == "identical scores"
    assert found(some, "speed (rough)").value.startswith("images a second")
    assert some.options == ()  # it is not the batch


def test_a_batch_that_is_too_large(model):
    def score(images):
        if len(images) > 4:
            raise ValueError("too many")
        return contrast(images)

    probed = probe(model(score))
    assert "8 images fail" in found(probed, "speed (rough)").value
    assert probed.options == ("--batch 4",)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(TransientError("503"), Verdict.NOTE), (RuntimeError("CUDA error"), Verdict.PROBLEM)],
)
def test_failures_now_and_then(builtin, model, error, verdict):
    calls = itertools.count(1)

    def score(images):
        if next(calls) % 10 == 0:
            raise error
        return builtin(images)

    probed = probe(model(score, (0.0, 100.0), min_size=64))
    failures = found(probed, "failures")
    assert failures.verdict is verdict and str(error) in failures.value
    assert {f.topic for f in probed.findings if f.verdict is not Verdict.OK} == {"failures"}


def test_failures_on_some_pictures(model):
    def score(images):
        if (contrast(images) > 10).any():
            raise ValueError("too sharp")
        return contrast(images)

    probed = probe(model(score))
    assert found(probed, "failures").verdict is Verdict.PROBLEM
    assert "too sharp" in found(probed, "failures").value
    assert probed.options == ()


@pytest.mark.parametrize("queries", [10, 11, 30, 400])
def test_a_model_that_always_fails(model, queries):
    def score(images):
        raise ValueError("no weights")

    probed = probe(model(score), queries=queries)
    (failure,) = probed.problems
    assert "no weights" in failure.value


def test_a_service_that_is_down_is_not_asked_at_other_sizes(model):
    def down(images):
        raise ConnectionError("refused")

    counted = Counted(down)
    assert not probe(model(counted)).ok
    assert counted.images == 4  # two pictures, each twice


def test_a_user_function_that_wants_its_images_otherwise(tmp_path):
    (tmp_path / "m.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    return lambda image: float(np.abs(np.diff(image.astype(float), axis=1)).mean())"
        " if image.ndim == 3 and image.shape[2] == 3 else 1 / 0\n"
    )
    probed = probe(load(f"{tmp_path}/m.py:load"))
    assert "probed with --input nhwc,numpy,single" in found(probed, "input").value
    assert "--input nhwc,numpy,single" in probed.options
    assert "SROCC" in found(probed, "direction").value  # the rest was asked with it
    assert probed.queries <= 400
    better = probe(load(f"{tmp_path}/m.py:load", input="numpy,nhwc,single"))
    assert better.ok
    assert "not declared" in found(better, "score range").value
    assert "not declared" in found(better, "direction").value
    assert better.options == ("--score-range 0,100",)


def test_a_working_input_keeps_what_was_given(model):
    def score(image):
        assert image.dtype == np.float32 and image.shape[2] == 3
        return float(np.abs(np.diff(image[..., 1], axis=1)).mean())

    probed = probe(model(score, (0.0, 0.3), input="float01", timeout=60.0))
    assert probed.options == ("--input float01,nhwc,numpy,single",)


def test_warnings_of_a_model_that_is_given_what_it_does_not_take(model, recwarn):
    def score(image):
        if not isinstance(image, np.ndarray):
            warnings.warn("no array", RuntimeWarning, stacklevel=1)
            raise TypeError("no array")
        return float(np.abs(np.diff(image.astype(float), axis=1)).mean())

    assert "probed with --input nhwc,numpy" in found(probe(model(score)), "input").value
    assert not recwarn.list


def test_what_is_not_declared_is_suggested(tmp_path):
    (tmp_path / "m.py").write_text(
        "from iqattack.models import load_model\n"
        "def load():\n"
        "    builtin = load_model('builtin')\n"
        "    return lambda images: 100 - builtin(images)\n"
    )
    probed = probe(load(f"{tmp_path}/m.py:load"))
    assert probed.ok
    assert {"--score-range 0,100", "--lower-better"} <= set(probed.options)
    given = probe(load(f"{tmp_path}/m.py:load", score_range=(0.0, 100.0), lower_better=True))
    assert not given.options


def test_limits_that_the_model_declares(model):
    sizes = []

    def score(images):
        sizes.append(len(images))
        return contrast(images)

    scorer = model(score)
    scorer.traits = Traits(batch=2, concurrency=4)
    probed = probe(scorer)
    assert max(sizes) == 2
    assert found(probed, "concurrent calls (rough)").value.count(":") == 4  # with 1, 2 and 4
    scorer.traits = Traits(batch=1)
    assert "one image per call" in found(probe(scorer), "batch").value
    assert sizes[-1] == 1


def test_pictures_of_ones_own(model, tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 50 + k, 3), dtype=np.uint8)).save(
            tmp_path / f"{k}.png"
        )
    (tmp_path / "3.png").write_bytes(b"no picture")
    probed = probe(model(score_range=(0.0, 200.0)), ImageSet.from_folder(tmp_path))
    assert (
        "1 left out" in found(probed, "images").value and "3.png" in found(probed, "images").value
    )
    assert "24 pictures" in found(probed, "direction").value  # of the sample set
    tensors = [torch.zeros(3, 16, 16, dtype=torch.uint8)]
    assert found(probe(model(), tensors), "score range").verdict is Verdict.OK  # one is no constant
    with pytest.raises(InputError, match=r"expected \(3, H, W\) uint8"):
        probe(model(), [torch.zeros(3, 16, 16)])


def test_pictures_too_small_for_the_model():
    probed = probe(
        load_model("builtin"), [torch.randint(256, (3, 32, 32)).byte() for _ in range(3)]
    )
    assert found(probed, "sizes").verdict is Verdict.PROBLEM
    assert "--input size=64" in probed.options  # which its error names


KINDS = {
    "sound": contrast,
    "failing": lambda images: 1 / 0,
    "nan": lambda images: contrast(images) * float("nan"),
    "one": lambda images: contrast(images).mean(),
    "small": lambda images: contrast(images) if images.shape[-1] == 384 else 1 / 0,
    "noisy": lambda images: contrast(images) + torch.randn(len(images)),
}


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ceiling=st.integers(10, 300), kind=st.sampled_from(sorted(KINDS)), every=st.integers(2, 9))
def test_never_more_queries_than_the_ceiling(model, ceiling, kind, every):
    calls = itertools.count(1)

    def score(images):
        if next(calls) % every == 0:
            raise ConnectionError("503")
        return KINDS[kind](images)

    counted = Counted(score)
    probed = probe(model(counted), queries=ceiling)
    assert counted.images == probed.queries <= ceiling


def test_what_the_ceiling_leaves_unasked(model):
    probed = probe(model(), queries=40)
    assert {"colours", "speed"} <= set(probed.unasked)
    with pytest.raises(InputError, match="--queries 9: expected at least 10"):
        probe(model(), queries=9)


def test_json(sound):
    read = json.loads(json.dumps(sound.as_dict()))
    assert read["ok"] is True and read["queries"] == sound.queries
    assert {"topic", "value", "verdict", "remedy", "option"} == set(read["findings"][0])


@settings(max_examples=60, deadline=None)
@example(step=0.3, places=[0, 21, 42, 63, 84, 105, 126, 148], start=0.0)
@given(
    step=st.sampled_from([0.01, 0.1, 0.3, 1.0, 12.5]),
    places=st.lists(st.integers(0, 300), min_size=8, max_size=30, unique=True),
    start=st.floats(0, 10),
)
def test_the_step_of_multiples(step, places, start):
    values = np.unique(start + step * np.array(places))
    assert common_step(values) == pytest.approx(step * np.gcd.reduce(np.diff(np.sort(places))))


def test_no_step_in_a_continuum():
    assert common_step(np.sort(np.random.default_rng(0).random(30))) is None


@pytest.mark.parametrize(
    ("scores", "declared", "expected"),
    [
        ([0.31, 0.88], None, "0,1"),
        ([1.8, 4.2], None, "1,5"),
        ([12.0, 81.0], (0.0, 1.0), "0,100"),  # outside
        ([0.031, 0.064], (0.0, 100.0), "0.03,0.07"),  # which fill 0..1 no more than 0..100
        ([0.31, 0.64], (0.0, 100.0), "0,1"),
        ([3.417, 3.435], None, "3.416,3.435"),
        ([0.031, 0.064], (0.0, 1.0), "0.03,0.07"),  # no usual range is narrower
        ([-3.0, 103.0], (0.0, 100.0), "-10,110"),
        ([500.0, 500.0], None, "500,600"),
    ],
)
def test_suggested_ranges(scores, declared, expected):
    assert suggested_range(scores, declared) == expected


@pytest.mark.parametrize("queries", [20, 21, 22, 23, 60])
def test_trials_of_conventions_are_counted_as_they_are_sent(model, queries):
    """One that scores three images and not one alone has been sent four."""

    def score(images):
        assert isinstance(images, np.ndarray) and len(images) == 3, "three at a time"
        return images.astype(float).mean((1, 2, 3))

    counted = Counted(score)
    probed = probe(model(counted), queries=queries)
    assert not probed.ok
    assert counted.images == probed.queries <= queries
