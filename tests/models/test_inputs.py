"""How a model wants its images, against NumPy and Pillow."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from iqattack.errors import InputError
from iqattack.models import Input, gradient_of, load_model, score_checked, suggestion, wrap
from iqattack.models.inputs import LUMA, RESAMPLING, resized

IMAGES = torch.randint(256, (3, 3, 20, 28), generator=torch.Generator().manual_seed(1)).byte()


def seen(text, images=IMAGES):
    """What a model is given in each call."""
    calls = []

    def score(batch):
        calls.append(batch)
        return 1.0 if Input.parse(text).one_by_one else [1.0] * len(images)

    assert score_checked(made(score, text), images).tolist() == [1.0] * len(images)
    return calls


def made(function, text=None):
    return wrap(function, name="mine", score_range=(0, 1), lower_better=False, input=text)


def test_by_default_a_copy():
    (batch,) = seen(None)
    assert torch.equal(batch, IMAGES)
    assert batch.data_ptr() != IMAGES.data_ptr()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("float255", lambda x: x),
        ("float01", lambda x: x / 255),
        ("bgr", lambda x: x[:, ::-1]),
        ("nhwc", lambda x: x.transpose(0, 2, 3, 1)),
        ("float01;nhwc", lambda x: x.transpose(0, 2, 3, 1) / 255),
        ("float255,mean=127.5,std=127.5", lambda x: x / 127.5 - 1),
        ("mean=0.5,0.4,0.3;std=2", lambda x: (x / 255 - np.c_[[0.5, 0.4, 0.3]][:, None]) / 2),
        (
            "imagenet,bgr",
            lambda x: (
                (x[:, ::-1] / 255 - np.c_[[0.485, 0.456, 0.406]][:, None])
                / np.c_[[0.229, 0.224, 0.225]][:, None]
            ),
        ),
        ("grey,float255", lambda x: np.einsum("nchw,c->nhw", x, LUMA)[:, None]),
        ("grey", lambda x: np.einsum("nchw,c->nhw", x, LUMA)[:, None]),
        ("crop=10x8,float255", lambda x: x[:, :, 6:14, 9:19]),
    ],
)
@pytest.mark.parametrize("container", ["tensor", "numpy"])
def test_values_and_axes(text, expected, container):
    (batch,) = seen(f"{text},{container}")
    assert isinstance(batch, torch.Tensor if container == "tensor" else np.ndarray)
    floating = Input.parse(text).floating
    assert str(batch.dtype).endswith("float32" if floating else "uint8")
    rounding = 0.5 if text == "grey" else 0.0
    wanted = expected(IMAGES.numpy().astype(np.float64))
    np.testing.assert_allclose(batch, wanted, atol=2e-5 + rounding)


@pytest.mark.parametrize("text", ["single", "numpy,single", "numpy,nhwc,single", "float01,single"])
def test_one_image_a_call(text):
    calls = seen(text)
    assert len(calls) == 3
    for call, image in zip(calls, IMAGES, strict=True):
        wanted = image.permute(1, 2, 0) if "nhwc" in text else image
        np.testing.assert_allclose(call, wanted / 255 if "float01" in text else wanted)


def test_pictures_and_files():
    for call, image in zip(seen("pil"), IMAGES, strict=True):
        assert call.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(call), image.permute(1, 2, 0))
    (grey, *_) = seen("pil,grey")
    assert grey.mode == "L"
    read = []

    def score(path):
        with Image.open(path) as picture:
            read.append(np.asarray(picture))
        return 0.5

    score_checked(made(score, "path,bgr"), IMAGES)
    np.testing.assert_array_equal(read, IMAGES.flip(1).permute(0, 2, 3, 1))


@pytest.mark.parametrize("resample", RESAMPLING)
def test_a_fixed_size(resample):
    (batch,) = seen(f"size=14x10,resample={resample}")
    assert batch.shape == (3, 3, 10, 14)
    # Halving by an area or a box filter is the mean of 2×2; antialiased filters come near it.
    means = IMAGES.double().reshape(3, 3, 10, 2, 14, 2).mean((3, 5))
    far = float((batch.double() - means).abs().mean())
    assert far < {"area": 0.5, "bilinear": 25, "bicubic": 25, "nearest": 60}[resample]
    flat = torch.full((1, 3, 31, 17), 77.0)
    assert torch.allclose(resized(flat, (8, 40), resample), torch.tensor(77.0))


def test_pillow_agrees_on_bilinear():
    (batch,) = seen("size=14x10")
    for ours, image in zip(batch, IMAGES, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        theirs = np.asarray(picture.resize((14, 10), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 1


WORDS = st.lists(
    st.sampled_from(["float01", "bgr", "nhwc", "numpy", "single", "size=32x16", "crop=8", "std=2"]),
    unique=True,
)


@given(WORDS, st.randoms())
def test_the_order_of_terms_does_not_matter(words, chance):
    once = Input.parse(",".join(words))
    chance.shuffle(words)
    assert Input.parse("; ".join(words)) == once
    assert Input.parse(once.text) == once


def test_blanks_are_for_reading():
    assert Input.parse("float01 nhwc") == Input.parse(" float01 ,nhwc ; ")
    assert Input.parse("mean = 0.5, 0.4, 0.3; std=2") == Input.parse("mean=0.5,0.4,0.3,std=2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("floot01", "unknown term of --input 'floot01': did you mean 'float01'"),
        ("uint8,float01", "'float01' contradicts another term"),
        ("size=", "expected size=224 or size=384x256"),
        ("size=0", "expected size=224 or size=384x256"),
        ("crop=axb", "expected crop=224 or crop=384x256"),
        ("mean=a", "expected numbers, such as mean=0.5 or mean=0.5,0.4,0.5"),
        ("mean=nan", "expected numbers, such as mean=0.5"),
        ("std=inf", "expected numbers, such as std=0.5"),
        ("size=999999", "at most 16384 pixels"),
        ("mean=1,2", "mean has 2 numbers, expected 1 or 3"),
        ("grey,std=1,1,1", "std has 3 numbers, expected 1 or 1"),
        ("std=0", "std must not be 0"),
        ("uint8,mean=0.5", "mean and std need float01 or float255, not uint8"),
        ("pil,nhwc", "a model that takes pil receives 8-bit pictures"),
        ("resample=bicubic", "resample needs size="),
        ("size=8,resample=sinc", "expected bilinear, bicubic, area, nearest"),
        ("size", "unknown term of --input 'size': did you mean 'size='"),
    ],
)
def test_terms_that_make_no_sense(text, message):
    with pytest.raises(InputError) as raised:
        Input.parse(text)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"--input {text}: ")


def test_a_crop_larger_than_the_image():
    smaller = "crop=64x64: an image of 28×20 pixels is smaller; add size"
    with pytest.raises(InputError, match=smaller):
        score_checked(made(lambda batch: [0.0] * 3, "crop=64"), IMAGES)


def test_one_image_that_fails_leaves_the_others_their_scores():
    def score(image):
        if image.sum() == IMAGES[1].sum():
            raise ValueError("no")
        return 0.5

    one, failed, other = made(score, "single")(IMAGES)
    assert (one, other) == (0.5, 0.5)
    assert "ValueError: no" in str(failed)


@pytest.mark.parametrize("answer", [0.25, np.array([0.25]), torch.tensor([[0.25]]), [0.25]])
def test_what_a_function_of_one_image_may_return(answer):
    assert score_checked(made(lambda _: answer, "numpy,single"), IMAGES).tolist() == [0.25] * 3


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.conv(images).abs()).mean((1, 2, 3))


@pytest.mark.parametrize("text", ["float01", "imagenet,size=16,resample=bicubic", "float255,bgr"])
def test_gradients_of_a_module_are_those_of_its_scores(text):
    model = made(Net(), text)
    gradient = gradient_of(model)
    grey = IMAGES.float()
    found = gradient(grey)
    convention = Input.parse(text)
    step = torch.zeros_like(grey)
    step[:, 1, 5:9, 5:9] = 0.5
    net = model.function.function
    with torch.no_grad():
        up, down = (net(convention.tensor(grey + sign * step)) for sign in (1, -1))
    expected = (up - down).double()
    assert torch.allclose((found * 2 * step).sum((1, 2, 3)).double(), expected, rtol=0.02)


def test_a_module_scores_in_evaluation_mode():
    model = made(Net(), "float01")
    assert torch.equal(model(IMAGES), model(IMAGES))


def test_what_has_no_gradients():
    with pytest.raises(InputError, match="has no gradients"):
        gradient_of(made(lambda batch: [0.0] * len(batch)))
    model = made(lambda batch: batch.mean((1, 2, 3)), "numpy,float01")
    with pytest.raises(InputError, match="a model that takes numpy has none"):
        gradient_of(model)(IMAGES.float())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Net(), "float01"),
        (lambda image: float(np.diff(image.astype(float), axis=1).mean()), "nhwc,numpy,single"),
        (lambda batch: batch.astype(float).mean((1, 2, 3)), "numpy"),
        (lambda picture: picture.convert("L").getextrema()[1], "pil"),
        (lambda path: Image.open(path).size[0], "path"),
        (lambda image: float(torch.linalg.matrix_norm(image.float())[2]), "single"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 224 * 224, 1)), "size=224"),
    ],
)
def test_what_would_work_is_suggested(function, expected):
    said = suggestion(made(function), IMAGES[0])
    assert "given images as uint8 (N, 3, H, W) it fails" in said
    assert expected in said.partition("--input ")[2].partition(" ")[0]


def test_nothing_is_suggested_where_nothing_would_work_or_all_is_well():
    assert suggestion(made(lambda batch: None)) == ""
    assert suggestion(made(lambda batch: batch.double().mean((1, 2, 3)))) == ""
    assert suggestion(load_model("builtin")) == ""


def test_models_that_are_ours_take_other_pictures():
    plain, model = load_model("builtin"), load_model("builtin", input="size=80,bgr")
    images = torch.randint(256, (2, 3, 96, 112), dtype=torch.uint8)
    expected = plain(Input.parse("size=80,bgr").pictures(images))
    assert torch.equal(torch.as_tensor(model(images)), torch.as_tensor(expected))
    assert gradient_of(model)(images.float()).shape == images.shape
    grey = load_model("builtin", input="grey")
    assert len(grey(images)) == 2
    with pytest.raises(
        InputError, match="builtin receives 8-bit pictures; expected only size, resample"
    ):
        load_model("builtin", input="float01")
