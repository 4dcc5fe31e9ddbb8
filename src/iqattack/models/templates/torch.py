"""A PyTorch model for iqattack.

iqattack attack PHOTOS --model FILE.py:load --input imagenet --out runs/first

--input says how the model wants its images: imagenet here is float32 (N, 3, H, W), 0 to 1, with
ImageNet's mean and deviation subtracted and divided. Others: float01, size=224, bgr, grey, nhwc.
"""

import torch


class Quality(torch.nn.Module):
    """Put your network here."""

    # Needed by iqattack: the lowest and highest score, and whether a low one means good quality.
    score_range = (0.0, 10.0)
    lower_better = False

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 8, 5, stride=2)
        self.score = torch.nn.Linear(8, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (N,) of images (N, 3, H, W)."""
        energy = self.features(images).abs().mean((2, 3))
        return 10 * torch.sigmoid(self.score(energy)).squeeze(1)


def load(device: str = "cpu") -> torch.nn.Module:
    """Called once; `device` is what --device says."""
    torch.manual_seed(0)
    model = Quality()
    # model.load_state_dict(torch.load("weights.pth", weights_only=True))
    return model.to(device)
