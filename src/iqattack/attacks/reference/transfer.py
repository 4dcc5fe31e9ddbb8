"""Transfer attack (Korhonen & You, QoMEX 2022): gradients of a substitute, masked by activity.

The substitute is a model that the attacker has, `builtin` or one similar to the suspected target;
the target is queried for scores only. The paper masks the perturbation by spatial activity (Sobel),
because noise on edges and texture is hard to see. Here each step towards the boundary of the box is
a candidate. The steps ascend and then descend the substitute's score, because the two models may
disagree on the sign, first with the mask and then without it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Count, Gradients, ModelOption
from iqattack.perception import luma

BUILTIN = Gradients("builtin")
STEPS = 20  # their total length is the width of the box, so that a value may reverse; ours
FLAT = 0.1  # relative step size in flat regions; ours


def transfer(
    task: Task,
    substitute: ModelOption = BUILTIN,
    steps: Count = STEPS,
    mask: bool = True,
) -> Search:
    """Sign steps along the gradient of a substitute's score, up and down; ends after four passes.

    substitute: spec of the model whose gradients are used; steps: per pass; mask: scale steps by
        spatial activity in the first two passes; without it, there are only two, unmasked.
    """
    width = task.upper - task.lower
    if steps == 0 or torch.equal(task.lower8, task.upper8):
        return
    busy = activity(task.image).clamp(min=FLAT)
    for shape in (busy, torch.ones_like(busy)) if mask else (torch.ones_like(busy),):
        alpha = shape * width / steps
        for sign in (1.0, -1.0):
            x = task.image
            for _ in range(steps):
                x = x + sign * alpha * substitute(x[None])[0].sign()
                x = x.clamp(task.lower, task.upper)
                if (yield x[None]).gain[0] >= task.reach:
                    return


def activity(image: Tensor) -> Tensor:
    """Sobel magnitude of luma (H, W), smoothed over 3×3; 1 at its 95th percentile and above."""
    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float32
    )
    kernels = torch.stack([kernel, kernel.T])[:, None]
    padded = F.pad(luma(image[None])[:, None], (1, 1, 1, 1), mode="replicate")
    magnitude = torch.linalg.vector_norm(F.conv2d(padded, kernels), dim=1, keepdim=True)
    smooth = F.avg_pool2d(F.pad(magnitude, (1, 1, 1, 1), mode="replicate"), 3, 1)[0, 0]
    # NumPy's quantile, because PyTorch's is limited to 2^24 values.
    return (smooth / max(float(np.quantile(smooth.numpy(), 0.95)), 1e-6)).clamp(max=1.0)
