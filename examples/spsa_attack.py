"""SPSA as an attack of one's own: `--attack examples/spsa_attack.py:spsa:samples=16`.

Uesato, O'Donoghue, van den Oord & Kohli, ICML 2018, "Adversarial Risk and the Dangers of Evaluating
Against Weak Attacks", Algorithm 1, after Spall 1992: finite differences along random signs, both
ways, estimate the gradient. In every attack the gain replaces the classifier's loss; a step goes by
the sign of the estimate, as in our NES, in place of Adam.
"""

from __future__ import annotations

from collections.abc import Generator

import torch

from iqattack import Answer, Task


def spsa(
    task: Task, samples: int = 8, delta: float = 2.0, step: float = 0.5
) -> Generator[torch.Tensor, Answer, None]:
    """Sign steps along a gradient that is estimated from random signs.

    samples: pairs of candidates for each estimate; delta: how far they lie from the image, in grey
    levels; step: of the image, as a share of the box's half width.
    """
    x = task.image
    half = (task.upper - task.lower) / 2
    while True:
        v = torch.randn((samples, *x.shape), generator=task.rng).sign()
        answer = yield torch.cat([x + delta * v, x - delta * v])
        plus, minus = answer.gain.float().chunk(2)
        gradient = ((plus - minus)[:, None, None, None] * v).mean(0) / (2 * delta)
        x = task.project((x + step * half * gradient.sign())[None])[0]
        yield x[None]
