import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqattack.constraints import Constraint, JndBox, Linf, box_around
from iqattack.perception import JND_MODELS, jnd_violation, linf

constraints = st.one_of(
    st.floats(1, 255).map(Linf),
    st.builds(JndBox, st.floats(0.01, 20), st.sampled_from(sorted(JND_MODELS))),
)


def noise(seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 9, 13), generator=rng).float()


@settings(max_examples=60, deadline=None)
@given(constraint=constraints, seed=st.integers(0, 2**32))
def test_what_is_projected_and_rounded_is_allowed(constraint: Constraint, seed: int) -> None:
    image = noise(seed)
    rng = torch.Generator().manual_seed(seed + 1)
    candidates = image + 60 * torch.randn(4, 3, 9, 13, generator=rng)
    region = constraint.around(image)
    lower, upper = region.lower, region.upper
    assert torch.equal(lower, lower.round())
    assert torch.equal(upper, upper.round())
    assert (lower >= 0).all()
    assert (upper <= 255).all()
    assert (lower <= image).all()
    assert (image <= upper).all()

    of8 = constraint.around(image.byte())
    for bound, bound8 in zip((lower, upper), (of8.lower, of8.upper), strict=True):
        assert bound8.dtype == torch.uint8
        assert torch.equal(bound8.float(), bound)

    projected = region.project(candidates)
    assert torch.equal(projected, of8.project(candidates))
    assert torch.equal(projected, region.project(projected))
    scored = projected.round()
    assert (lower <= scored).all()
    assert (scored <= upper).all()
    if isinstance(constraint, Linf):
        assert linf(image, scored).max() <= constraint.epsilon
    if isinstance(constraint, JndBox):
        assert jnd_violation(image, scored, constraint.threshold(image)).max() == 0


def test_linf_box_by_hand() -> None:
    image = torch.tensor([0.0, 2.0, 100.0, 254.0]).expand(3, 1, 4)
    region = Linf(3.7).around(image)
    assert region.lower[0, 0].tolist() == [0, 0, 97, 251]
    assert region.upper[2, 0].tolist() == [3, 5, 103, 255]


def test_the_sum_is_not_rounded_up_to_a_level_outside() -> None:
    """In single precision 200 + 2.9999998 is 203."""
    radius = torch.tensor(2.9999998)
    assert 200.0 + radius == 203.0
    _, upper = box_around(torch.full((3, 1, 1), 200.0), radius)
    assert upper.unique().tolist() == [202.0]


def test_jnd_box_on_flat_ground() -> None:
    """0.38 of 20 grey levels on black is 7.6, of 6 on white 2.28."""
    black, white = torch.zeros(3, 8, 8), torch.full((3, 8, 8), 255.0)
    assert JndBox(0.38).around(black).upper.unique().tolist() == [7.0]
    assert JndBox(0.38).around(white).lower.unique().tolist() == [253.0]
    assert JndBox(0.38).threshold(black).shape == (8, 8)


def test_project_leaves_what_is_allowed() -> None:
    image = torch.full((3, 4, 4), 9.0)
    candidates = torch.stack([image, image + 2.4, image - 3])
    region = Linf(3).around(image)
    assert torch.equal(region.project(candidates), candidates)
    assert region.project(candidates + 50).unique().tolist() == [pytest.approx(12.0)]
