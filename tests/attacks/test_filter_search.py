"""Filter search on a score that only a filter of the image's detail moves."""

import torch
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks import load_attack
from iqattack.directions import bank, high_frequencies


def test_it_finds_a_filter_that_no_fixed_direction_is(natural, make_task, play) -> None:
    """A linear score whose weights are the detail through a filter: the optimum is its signs."""
    image = natural(48, 64)
    task = make_task(image, radius=3.0, queries=500, reach=1e9)
    kernel = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    detail = F.pad(high_frequencies(image)[None, None], (2, 2, 2, 2), mode="replicate")
    w = F.conv2d(detail, kernel)[0].double()
    optimum = 3.0 * 3.0 * float(w.abs().sum())

    def gain(x):
        return float((w * (x - image.double())).sum()) / optimum

    fixed = max(
        gain(image.double() + 3.0 * field)
        for field in bank(image, torch.Generator().manual_seed(0))
    )
    played = play(load_attack("filter-search:regions=false")(task), task, gain)
    assert max(played.gains) > 0.8
    assert max(played.gains) > 1.5 * fixed
