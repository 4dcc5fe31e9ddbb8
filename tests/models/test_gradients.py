"""Gradients of models, against differences of their scores."""

from pathlib import Path

import pytest
import torch

from iqattack.errors import InputError
from iqattack.models import answers, gradient_of, load_model, wrap

TINY = Path(__file__).parents[1] / "tiny_network.py"
# Spec, largest change in grey levels, and by how much the score may miss what the gradient says:
# logarithms of small energies bend at once, and pyiqa's BRISQUE rounds luma.
SPECS = {
    "builtin": ("builtin", 0.002, 0.4),
    "tiny": (f"{TINY}:load", 0.002, 0.01),
    "cnniqa": ("cnniqa:{}/models/cnniqa_live.pth", 0.002, 0.01),
    "brisque": (
        "pyiqa:brisque,pretrained_model_path={}/models/brisque_svm_weights.pth",
        3.0,
        0.2,
    ),
}


def differentiable(model, image):
    return float(model.function.differentiable(image).detach())


@pytest.mark.parametrize("name", SPECS)
def test_a_small_step_along_it_moves_the_score_as_it_says(request, sample_images, name) -> None:
    """f(x + t·g) − f(x − t·g) is 2t‖g‖² to first order."""
    if name == "brisque":
        pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")
    spec, largest, tolerance = SPECS[name]
    if "{}" in spec:
        spec = spec.format(request.getfixturevalue("shared"))
    model = load_model(spec, input="float01" if name == "tiny" else None)
    image = sample_images["13_chelsea_clean.png"][None].float()
    g = gradient_of(model)(image)
    assert g.shape == image.shape
    t = largest / float(g.abs().max())
    with torch.no_grad():
        up, down = (differentiable(model, image + s * t * g) for s in (1, -1))
    assert up - down == pytest.approx(2 * t * float(g.square().sum()), rel=tolerance)
    # The differentiable scores are the scores.
    (score,) = answers(model, image.byte())
    assert differentiable(model, image) == pytest.approx(score, abs=1e-3)


class Mean:
    def __call__(self, images):
        return images.float().mean((1, 2, 3))

    def differentiable(self, images):
        return images.mean((1, 2, 3))


def test_a_users_model_may_have_them() -> None:
    model = wrap(Mean(), score_range=(0, 255), lower_better=False, min_size=8)
    images = torch.zeros(2, 3, 8, 10)
    assert torch.allclose(gradient_of(model)(images), torch.full_like(images, 1 / 240))
    with pytest.raises(InputError, match="10×7 pixels is too small; expected at least 8×8"):
        gradient_of(model)(images[:, :, :7])


def test_a_model_of_scores_alone_is_refused_by_name() -> None:
    model = wrap(lambda images: [0.0], name="black", score_range=(0, 1), lower_better=False)
    with pytest.raises(InputError, match=r"model 'black' has no gradients.*differentiable"):
        gradient_of(model)


def test_a_model_whose_graph_is_broken_is_named() -> None:
    class Broken(Mean):
        def differentiable(self, images):
            return images.detach().mean((1, 2, 3))

    model = wrap(Broken(), score_range=(0, 255), lower_better=False)
    with pytest.raises(InputError, match="model 'Broken' failed to give gradients"):
        gradient_of(model)(torch.zeros(1, 3, 4, 4))
