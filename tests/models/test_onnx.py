import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import iqattack
from iqattack.errors import InputError
from iqattack.models import Model, answers, load_model
from iqattack.models.inputs import Input
from iqattack.models.onnx import OnnxModel, external_files, split_file

pytestmark = pytest.mark.usefixtures("few_resamples")

FLOAT = TensorProto.FLOAT
LUMA = np.array([0.299, 0.587, 0.114])


def noise_images(n, height=20, width=30, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=rng)


def save(path, nodes, outputs, *, shape=("n", 3, "h", "w"), kind=FLOAT, tensors=(), more=()):
    """A graph of one picture `x`, and of `more` inputs."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, shape), *more],
        [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def channel_means(axes, *, cast=True):
    """Nodes that make means (N, C) of x over axes."""
    nodes = [helper.make_node("Cast", ["x"], ["float"], to=FLOAT)] if cast else []
    source = "float" if cast else "x"
    return [*nodes, helper.make_node("ReduceMean", [source], ["means"], axes=axes, keepdims=0)]


def save_means(path, shape=("n", 3, "h", "w"), kind=FLOAT, axes=(2, 3)):
    """Three numbers for each image: the means of its channels."""
    return save(path, channel_means(axes), [("means", None)], shape=shape, kind=kind)


def save_linear(path, weights, shape=("n", 3, "h", "w"), axes=(2, 3), kind=FLOAT, out=None):
    """weights (3 or 1, K) of the means of the channels, as output `logits`."""
    nodes = [*channel_means(axes), helper.make_node("MatMul", ["means", "w"], ["logits"])]
    tensors = [("w", np.asarray(weights, np.float32))]
    return save(path, nodes, [("logits", out)], shape=shape, kind=kind, tensors=tensors)


def loaded(path, options="", convention="float255", **given):
    return OnnxModel(f"{path}{options}", convention=Input.parse(convention), **given)


def means_of(images):
    return images.double().mean((2, 3)).numpy()


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# -- what it is given -----------------------------------------------------------------------------


def test_one_number_for_each_image_needs_no_option(tmp_path):
    model = loaded(save_linear(tmp_path / "grey.onnx", LUMA[:, None]))
    images = noise_images(5)
    np.testing.assert_allclose(model(images), means_of(images) @ LUMA, rtol=1e-5)
    assert (model.score_range, model.lower_better, model.min_size) == (None, None, 1)
    assert model.name == "onnx:grey"
    assert model(images[:0]) == []


@pytest.mark.parametrize("index", [0, 1, 2, -1])
def test_channels_last(tmp_path, index):
    path = save_means(tmp_path / "m.onnx", ("n", "h", "w", 3), axes=(1, 2))
    images = noise_images(3)
    scores = loaded(path, f",index={index}")(images)
    np.testing.assert_allclose(scores, means_of(images)[:, index], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "convention", "scale"),
    [
        (TensorProto.UINT8, None, 1),
        (TensorProto.UINT8, "uint8,bgr", 1),
        (TensorProto.FLOAT, "uint8", 1),
        (TensorProto.FLOAT, "float01", 255),
        (TensorProto.FLOAT16, "float255", 1),
        (TensorProto.DOUBLE, "float01", 255),
    ],
)
def test_element_types(tmp_path, kind, convention, scale):
    path = save_means(tmp_path / "m.onnx", kind=kind)
    images = noise_images(3)
    index = 2 if convention and "bgr" in convention else 0
    scores = loaded(path, f",index={index}", convention)(images)
    np.testing.assert_allclose(np.multiply(scores, scale), means_of(images)[:, 0], rtol=1e-5)


def test_imagenet(tmp_path):
    images = noise_images(3)
    scores = loaded(save_means(tmp_path / "m.onnx"), ",index=1", "imagenet")(images)
    expected = (means_of(images)[:, 1] / 255 - 0.456) / 0.224
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [("n", 1, "h", "w"), ("n", "h", "w", 1)])
def test_grey_graphs_get_luma(tmp_path, shape):
    axes = (2, 3) if shape[1] == 1 else (1, 2)
    path = save_means(tmp_path / "m.onnx", shape, axes=axes)
    images = noise_images(3)
    np.testing.assert_allclose(loaded(path)(images), means_of(images) @ LUMA, rtol=1e-5)


def test_axes_of_any_length_need_a_layout(tmp_path):
    path = save_means(tmp_path / "m.onnx", ("n", "a", "b", "c"))
    with pytest.raises(InputError, match=r"'x' \(n, a, b, c\).*give --input nchw or nhwc"):
        loaded(path)
    images = noise_images(2)
    for convention, expected in (
        ("float255,nchw", means_of(images)[:, 1]),
        ("float255,grey,nchw", means_of(images) @ LUMA),
    ):
        index = 0 if "grey" in convention else 1
        scores = loaded(path, f",index={index}", convention)(images)
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_graph_of_one_image_without_batch_axis(tmp_path):
    path = save_means(tmp_path / "m.onnx", (3, "h", "w"), axes=(1, 2))
    images = noise_images(3)
    model = loaded(path, ",index=1")
    np.testing.assert_allclose(model(images), means_of(images)[:, 1], rtol=1e-5)
    assert model.batch is None  # it takes any number, one after the other


def test_fixed_size_resizes(tmp_path):
    path = save_means(tmp_path / "m.onnx", (1, 3, 224, 224))
    model = loaded(path, ",index=0")
    assert model.notes == (
        "images are resized to 224×224 pixels (bilinear), the size that the graph takes",
    )
    images = noise_images(2, 300, 400)
    expected = means_of(Input.parse("float255,size=224").tensor(images))[:, 0]
    np.testing.assert_allclose(model(images), expected, rtol=1e-5)
    cropped = loaded(path, ",index=0", "float255,crop=224")
    assert (cropped.notes, cropped.min_size) == ((), 224)
    middle = means_of(images[..., 38:262, 88:312])[:, 0]
    np.testing.assert_allclose(cropped(images), middle, rtol=1e-5)


def test_inputs_with_a_value_of_their_own_are_left_alone(tmp_path):
    more = [helper.make_tensor_value_info("w", FLOAT, (3, 1))]
    nodes = [*channel_means((2, 3)), helper.make_node("MatMul", ["means", "w"], ["y"])]
    weights = [("w", LUMA[:, None].astype(np.float32))]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=weights, more=more)
    images = noise_images(2)
    np.testing.assert_allclose(loaded(path)(images), means_of(images) @ LUMA, rtol=1e-5)


# -- batches --------------------------------------------------------------------------------------


def save_places(path, batch):
    """As a score the mean of red, and 1000 times the place in the batch."""
    places = 1000 * np.arange(batch, dtype=np.float32)[:, None]
    nodes = [
        *channel_means((2, 3)),
        helper.make_node("MatMul", ["means", "w"], ["red"]),
        helper.make_node("Add", ["red", "places"], ["y"]),
    ]
    red = np.array([[1], [0], [0]], np.float32)
    tensors = [("w", red), ("places", places)]
    return save(path, nodes, [("y", None)], shape=(batch, 3, "h", "w"), tensors=tensors)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_fixed_batch(tmp_path, n):
    model = loaded(save_places(tmp_path / "m.onnx", 4))
    assert model.batch == 4
    images = noise_images(n)
    expected = means_of(images)[:, 0] + 1000 * (np.arange(n) % 4)
    np.testing.assert_allclose(model(images), expected, rtol=1e-5)


def test_batch_option(tmp_path):
    """The graph's score is how many images a call had."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["m", "zero"], ["zeros"]),
        helper.make_node("Shape", ["x"], ["whole"]),
        helper.make_node("Slice", ["whole", "i0", "i1"], ["n"]),
        helper.make_node("Cast", ["n"], ["count"], to=FLOAT),
        helper.make_node("Add", ["zeros", "count"], ["y"]),
    ]
    tensors = [
        ("zero", np.array(0, np.float32)),
        ("i0", np.array([0], np.int64)),
        ("i1", np.array([1], np.int64)),
    ]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=tensors)
    images = noise_images(5)
    assert loaded(path)(images) == [1, 1, 1, 1, 1]
    model = loaded(path, ",batch=2")
    assert model(images) == [2, 2, 2, 2, 1]
    assert model.batch == 2
    fixed = save_places(tmp_path / "fixed.onnx", 4)
    with pytest.raises(InputError, match=r"batch=2: the graph takes 4 at once"):
        loaded(fixed, ",batch=2")


def test_a_score_does_not_depend_on_its_batch(tmp_path):
    rng = np.random.default_rng(0)
    model = loaded(save_linear(tmp_path / "m.onnx", rng.normal(size=(3, 1))))
    images = noise_images(8)
    together = model(images)
    assert [model(image[None])[0] for image in images] == together
    assert model(images.flip(0))[::-1] == together


def test_an_image_that_fails_leaves_the_others_alone(tmp_path):
    """A dark image makes an index that is out of range."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Less", ["m", "ten"], ["dark"]),
        helper.make_node("Cast", ["dark"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "at"], ["y"]),
    ]
    tensors = [("ten", np.array(10, np.float32)), ("table", np.array([5], np.float32))]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=tensors)
    images = noise_images(3)
    images[1] = 0
    model = Model(loaded(path), "m", (0, 10), False)
    found = answers(model, images)
    assert (found[0], found[2]) == (5, 5)
    assert "indices element out of data bounds" in str(found[1])


# -- from outputs to scores -----------------------------------------------------------------------

WEIGHTS = np.random.default_rng(1).normal(size=(3, 10)) / 50


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), ("n", "h", "w", 3)])
def test_softmax_index_and_expectation(tmp_path, shape):
    axes = (2, 3) if shape[1] == 3 else (1, 2)
    path = save_linear(tmp_path / "nima.onnx", WEIGHTS, shape, axes)
    images = noise_images(4)
    images[1] = 255
    logits = means_of(images) @ WEIGHTS
    model = loaded(path, ",index=2")
    np.testing.assert_allclose(model(images), logits[:, 2], rtol=1e-4)
    assert (model.score_range, model.lower_better) == (None, None)
    model = loaded(path, ",softmax,index=-3")
    np.testing.assert_allclose(model(images), softmax(logits)[:, 7], rtol=1e-4)
    assert (model.score_range, model.lower_better) == ((0, 1), None)
    assert model.name == "onnx:nima,softmax,index=-3"
    model = loaded(path, ",softmax,expectation=1..10")
    np.testing.assert_allclose(model(images), softmax(logits) @ np.arange(1, 11), rtol=1e-4)
    assert (model.score_range, model.lower_better) == ((1, 10), False)


def test_expectation_of_probabilities(tmp_path):
    nodes = [
        *channel_means((2, 3)),
        helper.make_node("MatMul", ["means", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
    ]
    outputs = [("logits", ("n", 10)), ("probs", ("n", 10))]
    path = save(tmp_path / "m.onnx", nodes, outputs, tensors=[("w", WEIGHTS.astype(np.float32))])
    images = noise_images(4)
    expected = softmax(means_of(images) @ WEIGHTS) @ np.arange(-4, 6)
    model = loaded(path, ",output=probs,expectation=-4..5")
    np.testing.assert_allclose(model(images), expected, rtol=1e-4)
    with pytest.raises(InputError, match=r"'logits' sums to .*; add softmax"):
        loaded(path, ",output=logits,expectation=1..10")
    with pytest.raises(
        InputError, match=r"several outputs: logits \(n, 10\), probs \(n, 10\); give output=NAME"
    ):
        loaded(path, ",expectation=1..10")
    with pytest.raises(InputError, match=r"output 'prob': did you mean 'probs'\?"):
        loaded(path, ",output=prob")


def test_maps(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "two"], ["map"])]
    two = [("two", np.array(2, np.float32))]
    path = save(tmp_path / "map.onnx", nodes, [("map", None)], tensors=two)
    images = noise_images(2)
    means = 2 * means_of(images)
    np.testing.assert_allclose(loaded(path, ",mean")(images), means.mean(1), rtol=1e-5)
    np.testing.assert_allclose(loaded(path, ",index=1,mean")(images), means[:, 1], rtol=1e-5)
    probabilities = (2 * images.double()).softmax(1).mean((2, 3))[:, 0]
    scores = loaded(path, ",softmax,index=0,mean")(images)
    np.testing.assert_allclose(scores, probabilities, rtol=1e-5)
    with pytest.raises(InputError, match=r"50176 numbers for each image; expected one: give mean"):
        loaded(path, ",index=1")


def test_maps_of_graphs_with_channels_last(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["map"])]
    path = save(tmp_path / "map.onnx", nodes, [("map", None)], shape=("n", "h", "w", 3))
    images = noise_images(2)
    scores = loaded(path, ",index=2,mean")(images)
    np.testing.assert_allclose(scores, means_of(images)[:, 2], rtol=1e-5)


def test_tokens_have_their_classes_last(tmp_path):
    """(N, 3, h·w) turned to (N, h·w, 3)."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Reshape", ["flat", "shape"], ["planes"]),
        helper.make_node("Transpose", ["planes"], ["tokens"], perm=[0, 2, 1]),
    ]
    shape = [("shape", np.array([0, 3, -1], np.int64))]
    path = save(tmp_path / "m.onnx", nodes, [("tokens", None)], tensors=shape)
    images = noise_images(2)
    expected = means_of(images)[:, 2]
    np.testing.assert_allclose(loaded(path, ",index=2,mean")(images), expected, rtol=1e-5)


def test_scores_that_are_not_finite_are_passed_on(tmp_path, recwarn):
    nodes = [helper.make_node("Log", ["means"], ["y"])]
    path = save(tmp_path / "m.onnx", [*channel_means((2, 3)), *nodes], [("y", None)])
    images = noise_images(2)
    images[0] = 0
    for options in (",index=1", ",softmax,index=1", ",softmax,expectation=1..3"):
        scores = loaded(path, options)(images)
        assert np.isfinite(scores).tolist() == [False, True]
    assert not recwarn.list


def test_running_out_of_memory_is_passed_on(tmp_path):
    """So that a pool makes smaller batches."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Expand", ["m", "huge"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"], axes=[0, 1], keepdims=0),
    ]
    huge = [("huge", np.array([2**22, 2**22], np.int64))]  # 64 TiB
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=huge)
    with pytest.raises(MemoryError):
        loaded(path)(noise_images(1))


def test_trailing_axes_of_length_1_are_no_map(tmp_path):
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)])
    images = noise_images(3)
    np.testing.assert_allclose(loaded(path, ",index=2")(images), means_of(images)[:, 2], rtol=1e-5)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", r"'logits' has shape \(1, 10\), 10 numbers for each image; expected one: give index="),
        (",index=10", r"index=10: expected 0 to 9, or -10 to -1 from the end"),
        (",index=-11", r"index=-11: expected 0 to 9"),
        (",softmax,expectation=1..5", r"has 10 classes; expectation=1..5 needs 5"),
        (",expectation=1..10", r"sums to .*, so these are not probabilities; add softmax"),
        (",softmax", r"softmax: add index=K or expectation=A..B"),
        (",index=1,expectation=1..10", r"give index or expectation, not both"),
        (",index=1,index=2", r"'index' is given twice"),
        (",index=x", r"option 'index=x': expected index=K"),
        (",expectation=5..1", r"option 'expectation=5..1': expected expectation=A..B"),
        (",batch=0", r"option 'batch=0': expected batch=N"),
        (",output=", r"option 'output=': expected output=NAME"),
        (",mean=2", r"option 'mean=2': expected mean"),
        (",softmac,index=1", r"option 'softmac': did you mean 'softmax'\?"),
        (",layout=nhwc", r"option 'layout=nhwc': give it with --input"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    path = save_linear(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(InputError, match=message) as error:
        loaded(path, options)
    assert str(error.value).startswith(f"model 'onnx:{path}{options}'")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "convention", "message"),
    [
        ((1, 3, 224, 224), "float01,nhwc", r"which is nchw; --input nhwc: leave nhwc out"),
        (("n", 3, "h", "w"), "float01,nhwc", r"which is nchw; --input nhwc: leave nhwc out"),
        ((1, 224, 224, 3), "float01,nchw", r"which is nhwc; --input nchw: leave nchw out"),
        ((1, 4, 224, 5), "float01,nchw", r"nchw would have 4 channels"),
        ((1, 3, 224, 224), "float01,size=256", r"makes images of 256×256 .* takes 224×224"),
        ((1, 3, 224, 256), "float01,size=300,crop=224x256", r"224×256 .* takes 256×224"),
        ((1, 3, 224, 224), "float01,grey", r"--input grey: it has 3 channels"),
        ((1, 1, 224, 224), "float01,bgr", r"--input bgr: it has 1 channels"),
        ((1, 1, 224, 224), "imagenet", r"mean has 3 numbers, expected 1"),
        ((1, 3, 224, "w"), "float01", r"one side is dynamic: give --input size=WxH"),
        ((1, 3, 224, 224), "single", r"--input single: the graph decides that; leave single"),
        ((3, 224, 224), "float01,single", r"--input single: the graph decides that"),
        ((1, 3, 224, 224), "float01,numpy", r"--input numpy: the graph decides that"),
        ((1, 3, 224, 224), "float01,tensor", r"--input tensor: the graph decides that"),
        ((1, 3, 224, 224), "pil", r"--input pil: the graph decides that; leave pil out"),
        ((1, 3, 224, 224), None, r"give --input float01 \(0 to 1\), float255 .*, imagenet"),
        ((1, 3, 224, 224), "size=224", r"give --input float01 \(0 to 1\)"),
        ((1, 4, 224, 224), "float01", r"does not say where channels are"),
        ((3, "n"), "float01", r"inputs are 'x' \(3, n\) tensor\(float\); expected one picture"),
    ],
)
def test_conventions_that_do_not_fit(tmp_path, shape, convention, message):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], shape=shape)
    with pytest.raises(InputError, match=message) as error:
        loaded(path, ",mean", convention)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "convention", "phrases", "unsaid"),
    [
        ("", None, ["float01", "give index=K", "--score-range", "--lower-better"], []),
        (",index=1", None, ["float01", "--score-range", "--lower-better"], ["give index"]),
        ("", "float01", ["give index=K", "--score-range", "--lower-better"], ["--input float01"]),
        (",softmax,index=1", None, ["float01", "--lower-better"], ["--score-range", "give index"]),
        (",softmax,expectation=1..10", None, ["float01"], ["--score-range", "--lower-better"]),
        (",expectation=1..10", None, ["float01", "add softmax"], ["--score-range"]),
    ],
)
def test_what_is_missing_is_said_at_once(tmp_path, options, convention, phrases, unsaid):
    path = save_linear(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(InputError) as error:
        loaded(path, options, convention)
    text = str(error.value)
    assert all(phrase in text for phrase in phrases)
    assert not any(phrase in text for phrase in unsaid)
    assert text.count(str(path)) == 1 and "\n" not in text


def test_a_missing_output_and_missing_values(tmp_path):
    nodes = [*channel_means((2, 3)), helper.make_node("Identity", ["x"], ["map"])]
    path = save(tmp_path / "m.onnx", nodes, [("means", None), ("map", None)])
    with pytest.raises(InputError, match=r"give output=NAME; .* give --input float01 .*--score-ra"):
        loaded(path, "", None)


@pytest.mark.parametrize("options", [",softmax,index=2", ",softmax,expectation=1..10"])
@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), (1, 3, 20, 30)])
def test_probabilities_get_no_softmax(tmp_path, options, shape):
    nodes = [
        *channel_means((2, 3)),
        helper.make_node("MatMul", ["means", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    weights = [("w", WEIGHTS.astype(np.float32))]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=weights, shape=shape)
    with pytest.raises(InputError, match=r"'y' already has probabilities, .*; leave out softmax"):
        loaded(path, options)
    assert np.isfinite(loaded(path, options.replace("softmax,", ""))(noise_images(2))).all()


def test_probabilities_that_the_trial_does_not_reach(tmp_path):
    """A graph of 20×30 pixels that does not say so fails on the trial's picture."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["y"], axis=1),
    ]
    shape = [("shape", np.array([1, 1800], np.int64))]
    path = save(tmp_path / "m.onnx", nodes, [("y", None)], tensors=shape)
    (answer,) = loaded(path, ",softmax,index=2")(noise_images(1))
    assert isinstance(answer, InputError) and "leave out softmax" in str(answer)


def test_values_for_a_graph_of_uint8(tmp_path):
    path = save_means(tmp_path / "m.onnx", kind=TensorProto.UINT8)
    with pytest.raises(InputError, match=r"--input float01: it takes uint8; leave out values"):
        loaded(path, ",index=0", "float01")


def test_other_inputs(tmp_path):
    path = save_means(tmp_path / "int.onnx", kind=TensorProto.INT32)
    with pytest.raises(InputError, match=r"tensor\(int32\); expected one picture"):
        loaded(path)
    more = [helper.make_tensor_value_info("y", FLOAT, ("n", 3, "h", "w"))]
    nodes = [helper.make_node("Add", ["x", "y"], ["z"])]
    path = save(tmp_path / "two.onnx", nodes, [("z", None)], more=more)
    with pytest.raises(InputError, match=r"inputs are 'x' .*; 'y' .*; expected one picture"):
        loaded(path)


def test_files_that_are_no_graphs(tmp_path):
    with pytest.raises(InputError, match=r"no such file: '.*absent.onnx'; expected onnx:FILE"):
        loaded(tmp_path / "absent.onnx", ",index=1")
    for name, content in (("text.onnx", b"not a graph"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"not a graph that ONNX Runtime .* can run") as error:
            loaded(tmp_path / name)
        assert "\n" not in str(error.value)


def test_devices(tmp_path):
    path = save_linear(tmp_path / "m.onnx", LUMA[:, None])
    for device in ("abacus", "cuda:x"):
        with pytest.raises(
            InputError, match=rf"device '{device}' cannot be used: .* has .*CPUExecutionProvider"
        ):
            loaded(path, device=device)


def test_a_provider_that_does_not_start(tmp_path, monkeypatch):
    """As without CUDA's libraries: ONNX Runtime would go on, on the CPU."""
    path = save_linear(tmp_path / "m.onnx", LUMA[:, None])
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    if torch.cuda.is_available():
        pytest.skip("it may start")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(InputError, match=r"'cuda:1' cannot be used: CUDAExecutionProvider does not"),
    ):
        loaded(path, device="cuda:1")


def test_without_onnxruntime(tmp_path, monkeypatch):
    path = save_linear(tmp_path / "m.onnx", LUMA[:, None])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'iqattack\[onnx\]'"):
        loaded(path)


def test_what_onnx_runtime_prints_does_not_reach_the_user(tmp_path, capfd):
    path = save_linear(tmp_path / "m.onnx", WEIGHTS)
    with pytest.raises(InputError):
        loaded(path, ",index=99")
    (tmp_path / "text.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError):
        loaded(tmp_path / "text.onnx")
    assert capfd.readouterr() == ("", "")


# -- files ----------------------------------------------------------------------------------------


def test_options_longer_than_a_file_name_may_be(tmp_path):
    path = save_means(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="unknown output"):
        loaded(path, f",index=0,output={'x' * 300}")
    with pytest.raises(InputError, match="no such file"):
        loaded("x" * 300)


def test_a_file_whose_name_holds_commas(tmp_path):
    path = save_linear(tmp_path / "lr=0.1,index=1.onnx", WEIGHTS)
    assert split_file(f"{path},index=2") == (path, ["index=2"])
    images = noise_images(2)
    expected = (means_of(images) @ WEIGHTS)[:, 2]
    np.testing.assert_allclose(loaded(path, ",index=2")(images), expected, rtol=1e-4)


def test_spec_and_files_are_absolute(tmp_path, monkeypatch):
    save_linear(tmp_path / "m.onnx", WEIGHTS)
    monkeypatch.chdir(tmp_path)
    model = loaded("m.onnx", ",softmax,index=2,batch=3")
    assert model.spec == f"onnx:{tmp_path / 'm.onnx'},softmax,index=2,batch=3"
    assert model.name == "onnx:m,softmax,index=2"
    assert model.files == (tmp_path / "m.onnx",)


@pytest.mark.parametrize("name", ["m.onnx.data", "w" * 200 + ".bin", "gewichte_é.bin"])
def test_external_data(tmp_path, name):
    path = save_linear(tmp_path / "m.onnx", WEIGHTS)
    graph = onnx.load(path)
    onnx.save(graph, path, save_as_external_data=True, location=name, size_threshold=0)
    assert external_files(path) == (tmp_path / name,)
    model = loaded(path, ",index=0")
    assert model.files == (path, tmp_path / name)
    images = noise_images(2)
    np.testing.assert_allclose(model(images), (means_of(images) @ WEIGHTS)[:, 0], rtol=1e-4)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match="not a graph that ONNX Runtime"):
        loaded(path, ",index=0")


# -- as a whole -----------------------------------------------------------------------------------


@pytest.fixture
def classifier(tmp_path):
    """Three classes of a 224×224 NHWC picture: how bright it is."""
    weights = np.array([[-0.05, 0, 0.05]]).repeat(3, 0)
    return save_linear(tmp_path / "clf.onnx", weights, (1, 224, 224, 3), (1, 2), out=(1, 3))


def test_attack_on_a_classifier(classifier, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, image in enumerate(noise_images(2, 96, 120)):
        Image.fromarray((image // 8 + 10).permute(1, 2, 0).numpy()).save(photos / f"{i}.png")
    scorer = load_model(f"onnx:{classifier},softmax,index=2", lower_better=False, input="float255")
    assert scorer.score_range == (0, 1)
    run = iqattack.attack(
        str(photos), scorer, out=tmp_path / "run", attack="square", constraint="linf:4", queries=30
    )
    assert [result.gain > 0 for result in run.results] == [True, True]
    assert iqattack.verify(run, scorer).differences == ()


def test_a_worker_loads_it_from_any_folder(classifier, tmp_path):
    code = (
        "import torch; from iqattack.models import load_model;"
        f"m = load_model({f'onnx:{classifier},softmax,index=0'!r}, lower_better=True,"
        " input='float255'); print(float(m(torch.zeros(1, 3, 50, 60, dtype=torch.uint8))[0]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path("/"),
        env=environment,
        capture_output=True,
        check=True,
    )
    assert float(done.stdout) == pytest.approx(1 / 3)


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="no GPU"
)
def test_gpu_agrees_with_cpu(tmp_path):
    path = save_linear(tmp_path / "m.onnx", WEIGHTS)
    images = noise_images(9)
    on_gpu = loaded(path, ",softmax,index=0", device="cuda")(images)
    np.testing.assert_allclose(on_gpu, loaded(path, ",softmax,index=0")(images), atol=1e-4)


@pytest.mark.parametrize("declared", [None, (3, "n")])
def test_images_along_the_last_axis_are_never_taken_for_classes(tmp_path, declared):
    """With as many images as classes the shape does not tell."""
    nodes = [*channel_means((2, 3)), helper.make_node("Transpose", ["means"], ["out"], perm=[1, 0])]
    model = loaded(save(tmp_path / "m.onnx", nodes, [("out", declared)]), ",index=1,batch=3")
    images = noise_images(3)
    with pytest.raises(InputError, match=r"expected them along the first axis; give batch=1"):
        model(images)


def test_as_many_images_as_classes(tmp_path):
    model = loaded(save_means(tmp_path / "m.onnx"), ",index=1,batch=6")
    images = noise_images(6)
    for n in (3, 2, 3, 6):
        np.testing.assert_allclose(model(images[:n]), means_of(images[:n])[:, 1], rtol=1e-5)


def test_an_output_whose_name_has_commas(tmp_path):
    nodes = [*channel_means((1, 2, 3)), helper.make_node("Identity", ["means"], ["a,b=c"])]
    path = save(tmp_path / "m.onnx", nodes, [("a,b=c", None), ("means", None)])
    images = noise_images(2)
    scores = loaded(path, ",output=a,b=c,mean")(images)
    np.testing.assert_allclose(scores, means_of(images).mean(1), rtol=1e-5)
