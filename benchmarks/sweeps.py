"""Gains at equal similarity, interpolated between constraints of several widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from cells import Row, chosen, column, line_styles, shared
from common import Floats, with_interval

Curve = tuple[Floats, Floats]
"""Similarity and gain in points, (images, widths), the unchanged image as the first width."""


def curves(
    rows: Iterable[Row], attacks: Sequence[str], boxes: Sequence[str], name: str, unchanged: float
) -> dict[str, Curve]:
    """Of each attack that has rows in all boxes, on the images that all of them have in all boxes.

    name: the field of a row that says how similar the attacked image is; unchanged: its value for
    an identical one.
    """
    rows = list(rows)
    mine = shared(chosen(rows, attack=attack, box=box) for attack in attacks for box in boxes)
    found = {}
    for attack in attacks:
        parts = [chosen(mine, attack=attack, box=box) for box in boxes]
        if all(parts):
            clean = np.zeros(len(parts[0]))
            gains = np.stack([clean, *(100 * column(part, "gain") for part in parts)], axis=1)
            similar = [clean + unchanged, *(column(part, name) for part in parts)]
            found[attack] = np.stack(similar, axis=1), gains
    return found


def flat(curve: Curve) -> tuple[Floats, ...]:
    """The columns of a curve, with an entry per image, as `gain_at` takes them."""
    similarity, gains = curve
    return (*similarity.T, *gains.T)


def gain_at(wanted: float, *columns: Floats) -> float:
    """Mean gain at a mean similarity, interpolated between widths; that of the last one beyond it.

    columns: similarity of the images in each width, then gain in each.
    """
    means = np.array(columns).mean(1)
    similarity, gains = np.split(means, 2)
    order = np.argsort(similarity)
    return float(np.interp(wanted, similarity[order], gains[order]))


def reaches(curve: Curve, wanted: float) -> bool:
    """Whether the widest constraint is at least as visible on average; we do not extrapolate."""
    return bool(curve[0].mean(0).min() <= wanted)


def _ahead(wanted: float, *both: Floats) -> float:
    half = len(both) // 2
    return gain_at(wanted, *both[:half]) - gain_at(wanted, *both[half:])


def equal_lines(
    found: dict[str, Curve], levels: Sequence[float], measure: str, ours: str
) -> list[dict[str, str]]:
    """Gain at equal similarity, the strongest first, and by how much ours is ahead, paired."""
    made = []
    for attack, curve in found.items():
        line, first = {"attack": attack}, 0.0
        for wanted in levels:
            name, ahead = f"gain at {measure} {wanted}", f"{ours} ahead by, {wanted}"
            line |= {name: f"above {wanted} in every box", ahead: "–"}
            if not reaches(curve, wanted):
                continue
            line[name] = with_interval(".1f", partial(gain_at, wanted), *flat(curve))
            first = first or gain_at(wanted, *flat(curve))
            if ours in found and attack != ours:
                both = (*flat(found[ours]), *flat(curve))
                line[ahead] = with_interval("+.1f", partial(_ahead, wanted), *both)
        made.append((first, line | {"images": str(len(curve[1]))}))
    return [line for _, line in sorted(made, key=lambda pair: -pair[0])]


def draw(axis: Axes, found: dict[str, Curve], measure: str, ours: str) -> None:
    """Mean gain against mean similarity, a line per attack."""
    styles = line_styles()
    for attack, (similarity, gains) in found.items():
        mine, (colour, dashes) = attack == ours, styles[attack]
        axis.plot(
            similarity.mean(0), gains.mean(0), dashes, color="black" if mine else colour,
            linewidth=3 if mine else 1, marker=".", label=attack,
        )  # fmt: skip
    axis.set_xlabel(f"mean {measure}")
    axis.grid(alpha=0.3)
