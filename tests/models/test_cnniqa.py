import csv

import numpy as np
import pytest
import torch
from scipy import signal

from iqattack.errors import InputError
from iqattack.models.cnniqa import Cnniqa, CnniqaNetwork, blocks_of
from iqattack.perception import locally_normalised


def noise_images(n, height=70, width=100, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=rng)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "random.pth"
    torch.save(CnniqaNetwork().state_dict(), path)
    return path


def by_hand(image, state):
    """CNNIQA in NumPy and SciPy, in double precision, block by block."""
    p = {name: value.double().numpy() for name, value in state.items()}
    grey = np.tensordot([0.299, 0.587, 0.114], image.double().numpy(), 1) / 255
    window = np.ones((3, 3)) / 9
    scores = []
    for top in range(0, grey.shape[0] - 32, 32):
        for left in range(0, grey.shape[1] - 32, 32):
            block = grey[top : top + 32, left : left + 32]
            mean = signal.convolve2d(block, window, mode="same", boundary="symm")
            square = signal.convolve2d(block**2, window, mode="same", boundary="symm")
            block = (block - mean) / (np.sqrt(np.maximum(square - mean**2, 0)) + 1)
            maps = [
                signal.correlate2d(block, kernel[0], mode="valid") + bias
                for kernel, bias in zip(p["conv1.weight"], p["conv1.bias"], strict=True)
            ]
            x = np.array([m.max() for m in maps] + [m.min() for m in maps])
            x = np.maximum(p["fc1.weight"] @ x + p["fc1.bias"], 0)
            x = np.maximum(p["fc2.weight"] @ x + p["fc2.bias"], 0)
            scores.append((p["fc3.weight"] @ x + p["fc3.bias"])[0])
    return np.mean(scores)


def test_published_scores(shared, dev_images):
    """The authors' code rounds grey to 8 bits first, hence the tolerance."""
    with (shared / "reference" / "cnniqa_live_dev.csv").open() as file:
        reference = {row["image"]: float(row["score"]) for row in csv.DictReader(file)}
    images = torch.stack([dev_images[name] for name in reference])
    scores = Cnniqa(shared / "models" / "cnniqa_live.pth")(images).numpy()
    error = np.abs(scores - list(reference.values()))
    assert error.max() < 1.5
    assert error.mean() < 0.3


@pytest.mark.parametrize("size", [(70, 100), (65, 64), (33, 97)])
def test_agrees_with_an_independent_implementation(weights, size):
    images = noise_images(2, *size)
    state = torch.load(weights)
    expected = [by_hand(image, state) for image in images]
    np.testing.assert_allclose(Cnniqa(weights)(images), expected, atol=1e-5)


def test_agrees_with_an_independent_implementation_on_live(shared, dev_images):
    path = shared / "models" / "cnniqa_live.pth"
    image = dev_images["kodim08_noise4.png"][:, :97, :97]
    expected = by_hand(image, torch.load(path))
    np.testing.assert_allclose(Cnniqa(path)(image[None]), [expected], atol=2e-3)


@pytest.mark.parametrize(
    ("side", "starts"),
    [(33, [0]), (64, [0]), (65, [0, 32]), (96, [0, 32]), (224, range(0, 192, 32))],
)
def test_blocks_start_below_side_less_32(side, starts):
    grey = torch.arange(side * side, dtype=torch.float32).reshape(1, side, side)
    corners = blocks_of(grey)[:, 0, 0, 0].tolist()
    assert corners == [y * side + x for y in starts for x in starts]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_score_does_not_depend_on_its_batch(weights, batch):
    model = Cnniqa(weights)
    images = noise_images(8)
    together = model(images)
    parts = torch.cat([model(part) for part in images.split(batch)])
    assert torch.equal(parts, together)
    assert together.dtype == torch.float64
    assert together.shape == (8,)
    assert torch.equal(model(images.flip(0)).flip(0), together)


def test_no_images(weights):
    assert Cnniqa(weights)(noise_images(0)).shape == (0,)


def test_gradient_is_finite_on_flat_pictures():
    network = CnniqaNetwork()
    image = torch.full((1, 3, 40, 40), 128.0, requires_grad=True)
    network(image).sum().backward()
    assert image.grad.isfinite().all()


def test_flat_blocks_normalise_to_zero():
    assert locally_normalised(torch.full((1, 1, 32, 32), 0.5)).abs().max() == 0


def test_declares():
    assert (Cnniqa.score_range, Cnniqa.lower_better, Cnniqa.min_size) == ((0.0, 100.0), True, 33)


def test_missing_weights(tmp_path):
    with pytest.raises(InputError, match=r"absent.pth': no such file; expected a PyTorch state"):
        Cnniqa(tmp_path / "absent.pth")


def test_weights_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"text.pth': unreadable \(UnpicklingError\); expected"):
        Cnniqa(path)


def test_weights_with_code_are_not_run(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(CnniqaNetwork(), path)
    with pytest.raises(InputError, match="unreadable"):
        Cnniqa(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"state_dict": {}}])
def test_weights_that_are_no_state_dict(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"other.pth': holds (Tensor|dict); expected"):
        Cnniqa(path)


def test_weights_of_another_network(tmp_path, weights):
    state = torch.load(weights)
    path = tmp_path / "wrong.pth"
    torch.save(state | {"fc1.weight": torch.zeros(800, 50)}, path)
    with pytest.raises(
        InputError, match=r"fc1.weight is \(800, 50\), the network has \(800, 100\)"
    ):
        Cnniqa(path)
    del state["fc3.bias"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"fc3\.bias is missing"):
        Cnniqa(path)


def test_device_that_is_not_there(weights):
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        Cnniqa(weights, device="abacus")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_cpu(weights):
    images = noise_images(40, 224, 224)
    on_gpu = Cnniqa(weights, device="cuda")(images)
    np.testing.assert_allclose(on_gpu, Cnniqa(weights)(images), atol=1e-3)
