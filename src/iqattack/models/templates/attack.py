"""An attack for iqattack: python code in one file.

iqattack attack PHOTOS --model builtin --attack FILE.py:random_signs:batch=8 --out runs/mine
"""

from collections.abc import Generator

import torch

from iqattack import Answer, Task


def random_signs(task: Task, batch: int = 4) -> Generator[torch.Tensor, Answer, None]:
    """Flips the signs of squares at random and keeps what gains: a walk between the box's ends.

    An attack is a generator. It yields candidates (N, 3, H, W), in grey levels; each is projected,
    rounded and scored, which is a query. It is sent an Answer: `gain` (N,), larger is better, and
    `left`, the queries that remain. Whoever runs it ends it when the budget is spent.
    """
    height, width = task.image.shape[1:]
    best, best_gain = task.image, 0.0
    while True:
        signs = torch.randint(2, (batch, 3, 8, 8), generator=task.rng).float()
        rows = torch.arange(height) * 8 // height
        columns = torch.arange(width) * 8 // width
        ends = torch.where(signs[:, :, rows][..., columns] > 0, task.upper, task.lower)
        where = torch.rand((batch, 1, 8, 8), generator=task.rng)[:, :, rows][..., columns] < 0.3
        answer = yield torch.where(where, ends, best)
        top = int(answer.gain.argmax())
        if answer.gain[top] > best_gain:
            best, best_gain = answer.pixels[top].float(), float(answer.gain[top])
