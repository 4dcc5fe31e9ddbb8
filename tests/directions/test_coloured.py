"""Coloured checkerboards: squares of a colour beside squares of its opponent."""

import torch

from iqattack.directions import coloured_checkerboards

RED, CYAN, YELLOW, BLUE, MAGENTA, GREEN = (
    torch.tensor(colour, dtype=torch.int8)
    for colour in ((1, -1, -1), (-1, 1, 1), (1, 1, -1), (-1, -1, 1), (1, -1, 1), (-1, 1, -1))
)
OPPONENTS = {"red": (RED, CYAN), "yellow": (YELLOW, BLUE), "magenta": (MAGENTA, GREEN)}


def test_squares_of_a_colour_and_of_its_opponent() -> None:
    found = dict(coloured_checkerboards(torch.zeros(3, 5, 7)))
    assert len(found) == 6
    for name, signs in found.items():
        colour, _, side = name.split()
        assert signs.dtype == torch.int8
        for down in range(5):
            for across in range(7):
                odd = (down // int(side) + across // int(side)) % 2
                assert torch.equal(signs[:, down, across], OPPONENTS[colour][odd])


def test_no_two_and_no_contraries_are_alike() -> None:
    """Nor is any grey: what it asks is what no direction of all channels alike asks."""
    planes = torch.stack(
        [signs.flatten() for _, signs in coloured_checkerboards(torch.zeros(3, 8, 8))]
    )
    cosines = planes.double() @ planes.double().T / planes.shape[1]
    assert (cosines - torch.eye(6)).abs().max() < 0.5
    assert all(
        (signs.min(0).values != signs.max(0).values).all() for signs in planes.view(6, 3, 64)
    )
