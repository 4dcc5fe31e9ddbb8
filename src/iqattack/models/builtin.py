"""`builtin`: the model that ships with the package, trained by training/train.py on pseudo-MOS."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from iqattack.models.device import sent, usable_device
from iqattack.models.inference import EAGER, Inference

CELL = 8  # pixels; windows of two cells square overlap by one
SCALES = 4  # of luma; chroma has one less
FLOOR = 0.05  # of squared grey levels, below what rounding to 8 bits leaves
SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of energies over the image
TONES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # quantiles of tones
LOCAL = 82  # channels of the map of energies
OVERALL = 33 + (len(SHARES) + 1) * LOCAL
WIDTH, HIDDEN = 48, 128
JUDGES = 5
# Images in one pass on a GPU: under 1 GiB of activations at 512×512.
CHUNK = 16
# Numbers of responses computed at a time on a CPU: what fits its cache is much faster.
BAND = 100_000


class Energies(nn.Module):
    """The input features of a judge: fixed, differentiable natural scene statistics.

    Luma at four scales and two colour differences at three are filtered with the eight 3×3 DCT
    filters that have zero mean. The logarithms of mean energies in windows form a map with one cell
    per 8×8 pixels: blur, noise and coding multiply energies, which logarithms turn into sums.
    Further features are anisotropy (motion blur), contrast relative to the mean, colours and
    clipping.
    """

    bank: Tensor
    bands: Tensor
    planes: Tensor
    shares: Tensor
    tones: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = torch.arange(3.0)
        cosines = torch.cos(math.pi * (n + 0.5) * n[:, None] / 3) * math.sqrt(2 / 3)
        cosines[0] /= math.sqrt(2)
        bank = torch.einsum("ai,bj->abij", cosines, cosines).reshape(9, 1, 3, 3)[1:]
        planes = [[0.299, 0.587, 0.114], [0.707, -0.707, 0.0], [0.408, 0.408, -0.816]]
        bands = torch.zeros(3, 8)
        # DCT orders (0 or 1), (0, 2), the others.
        for band, filters in zip(bands, ([0, 2, 3], [1, 5], [4, 6, 7]), strict=True):
            band[filters] = 1 / len(filters)
        for name, value in {
            "bank": bank.clone(),
            "bands": bands,
            "planes": torch.tensor(planes)[..., None, None],
            "shares": torch.tensor(SHARES),
            "tones": torch.tensor(TONES),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map (N, 82, h, w) and global statistics (N, 689).

        images: (N, 3, H, W) float grey levels 0..255, H and W at least 64; the remainders of H and
        W modulo 8 are cropped at the lower right.
        """
        height, width = (side // CELL * CELL for side in images.shape[2:])
        images = images[..., :height, :width]
        planes = F.conv2d(images, self.planes)
        maps = [*self._luma(planes[:, :1]), self._chroma(planes[:, 1:]), windows(planes / 64, 0)]
        maps += self._range(images)
        local = torch.cat(maps, 1)
        flat = local.flatten(2)
        shares = quantiles(flat, self.shares).flatten(1)
        overall = [*self._tones(images), *blockiness(planes[:, 0]), shares, flat.mean(2)]
        return local, torch.cat(overall, 1)

    def _energy(self, plane: Tensor, scale: int, *, luma: bool = True) -> Tensor:
        """Energies (N, 8, h, w) of a plane (N, 1, H, W).

        For luma, (N, 9, h, w) with the covariance of the horizontal and vertical derivatives, and
        (N, 17, h, w) with mean magnitudes at the two finest scales.
        """
        side = CELL >> scale
        height, width = plane.shape[2:]
        band = height
        if plane.device.type == "cpu":
            band = max(BAND // (len(self.bank) * width * side), 1) * side
        padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
        strips = []
        for top in range(0, height, band):
            response = F.conv2d(padded[:, :, top : min(top + band, height) + 2], self.bank)
            means = [rows(response * response, side)]
            if luma:
                means.append(rows(response[:, :1] * response[:, 2:3], side))
            if luma and scale < 2:
                means.append(rows(response.abs(), side))
            strips.append(torch.cat(means, 1))
        return overlapping(columns(torch.cat(strips, 2), side))

    def _luma(self, luma: Tensor) -> list[Tensor]:
        """Energy (8 filters × 4 scales), mean magnitude at the two finest, structure tensor."""
        maps = []
        for scale in range(SCALES):
            luma = halved(luma) if scale else luma
            found = self._energy(luma, scale)
            energy, xy = found[:, :8], found[:, 8:9]
            maps.append(torch.log(energy + FLOOR))
            if scale < 2:  # with the energy, how sparse: noise is not, coded and clipped areas are
                maps.append(torch.log(found[:, 9:] + FLOOR))
            xx, yy = energy[:, :1], energy[:, 2:3]
            spread = torch.sqrt((xx - yy).square() + 4 * xy.square() + 1e-6)
            maps.append(torch.log((xx + yy + spread + 0.2) / (xx + yy - spread + 0.2)))
            level = luma - 128  # so that float32 holds the difference of squares
            mean, square = windows(torch.cat([level, level * level], 1), scale).chunk(2, 1)
            variance = (square - mean.square()).clamp(min=0)
            maps.append(0.5 * torch.log(variance + FLOOR) - torch.log(mean + 133))
        return maps

    def _chroma(self, chroma: Tensor) -> Tensor:
        """Energy of the two colour differences: three bands of frequency × 3 scales."""
        scales = []
        for scale in range(SCALES - 1):
            chroma = halved(chroma) if scale else chroma
            # One plane after the other: torch filters a single one in half the time.
            found = [self._energy(plane, scale, luma=False) for plane in chroma.chunk(2, 1)]
            scales.append(torch.einsum("bk,npkhw->npbhw", self.bands, torch.stack(found, 1)))
        return torch.log(torch.stack(scales, 2) + FLOOR).flatten(1, 3)

    def _range(self, images: Tensor) -> list[Tensor]:
        """The largest and smallest values of each window, and the share of clipped values."""
        high, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
        clipped = torch.cat([high - 253.5, low - 253.5, 1.5 - high], 1)
        shares = windows(torch.sigmoid(2 * clipped), 0)
        return [highest(high) / 64, -highest(-low) / 64, shares]

    def _tones(self, images: Tensor) -> list[Tensor]:
        """Quantiles of lightness, colourfulness and extreme channels; spread of lightness."""
        coarse = (columns(rows(images, 4), 4) / 255).flatten(2)
        lightness, high, low = coarse.mean(1), coarse.amax(1), coarse.amin(1)
        tones = torch.stack([lightness, high - low, high, low], 1)
        return [quantiles(tones, self.tones).flatten(1), lightness.std(1, keepdim=True)]


# Pooling by rows first: sums of whole rows are several times as fast as those of small squares.


def rows(values: Tensor, side: int) -> Tensor:
    """Means (N, C, h, W) over `side` rows each of values (N, C, H, W)."""
    n, channels, height, width = values.shape
    return values.reshape(n, channels, height // side, side, width).mean(3)


def columns(values: Tensor, side: int) -> Tensor:
    """Means (N, C, H, w) over `side` columns each of values (N, C, H, W)."""
    n, channels, height, width = values.shape
    return values.reshape(n, channels, height, width // side, side).mean(4)


def halved(plane: Tensor) -> Tensor:
    """Means of 2×2 pixels."""
    pairs = plane[..., ::2, :] + plane[..., 1::2, :]
    return (pairs[..., ::2] + pairs[..., 1::2]) / 4


def overlapping(cells: Tensor) -> Tensor:
    """Means of 2×2 cells at every cell."""
    pairs = cells[..., 1:] + cells[..., :-1]
    return (pairs[..., 1:, :] + pairs[..., :-1, :]) / 4


def windows(values: Tensor, scale: int) -> Tensor:
    """Means over windows of 16×16 image pixels, stride 8. scale: number of earlier halvings."""
    side = CELL >> scale
    return overlapping(columns(rows(values, side), side))


def highest(values: Tensor) -> Tensor:
    """Maxima over windows of 16×16 pixels with stride 8."""
    n, channels, height, width = values.shape
    lines = values.reshape(n, channels, height // CELL, CELL, width).amax(3)
    cells = lines.reshape(n, channels, height // CELL, width // CELL, CELL).amax(4)
    return F.max_pool2d(cells, 2, 1)


def quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """Quantiles (..., Q) of values (..., M), interpolated linearly, differentiable."""
    place = shares * (values.shape[-1] - 1)
    low, high = place.floor().long(), place.ceil().long()
    fixed = values.detach()
    # NumPy sorts several times as fast as torch does on a CPU, and values faster than places.
    on_cpu = fixed.device.type == "cpu"
    if values.requires_grad:
        order = torch.from_numpy(fixed.numpy().argsort(-1)) if on_cpu else fixed.argsort(-1)
        below, above = (values.gather(-1, order[..., k]) for k in (low, high))
    else:
        ranked = torch.from_numpy(np.sort(fixed.numpy(), -1)) if on_cpu else fixed.sort(-1).values
        below, above = ranked[..., low], ranked[..., high]
    return torch.lerp(below, above, place - low)


def blockiness(luma: Tensor) -> list[Tensor]:
    """How far steps between neighbours have period 8, as in JPEG: (N, 2), across and down."""
    across, down = luma.diff(dim=2).abs().mean(1), luma.diff(dim=1).abs().mean(2)
    found = []
    for steps in (across, down):
        cells = steps.shape[1] // CELL
        whole = steps[:, : cells * CELL].reshape(-1, cells, CELL)
        phase = torch.log(whole + FLOOR).mean(1)
        mean = phase.mean(1)
        found.append(torch.stack([phase.amax(1) - mean, mean - phase.amin(1)], 1))
    return found


class Judge(nn.Module):
    """The trained part: a combination of energies in each cell, pooling, and two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.local_norm = nn.BatchNorm2d(LOCAL, affine=False)
        self.overall_norm = nn.BatchNorm1d(OVERALL, affine=False)
        self.cell1 = nn.Conv2d(LOCAL, WIDTH, 1)
        self.cell2 = nn.Conv2d(WIDTH, WIDTH, 1)
        self.pooled_norm = nn.BatchNorm1d(3 * WIDTH)
        self.hidden1 = nn.Linear(OVERALL + 3 * WIDTH, HIDDEN)
        self.hidden2 = nn.Linear(HIDDEN, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1)

    def features(self, local: Tensor, overall: Tensor, noise: float = 0, drop: float = 0) -> Tensor:
        """Features (N, 128) of the output of `Energies`; noise and drop regularise training."""
        overall = self.overall_norm(overall).clamp(-4, 4)
        if noise:
            overall = overall + noise * torch.randn_like(overall)
        local = self.local_norm(local).clamp(-4, 4)
        local = F.dropout2d(local, drop / 3, self.training)
        cells = F.relu(self.cell2(F.relu(self.cell1(local)))).flatten(2)
        mean = cells.mean(2)
        # As var does, in a third of the time.
        variance = (cells - mean[..., None]).square().sum(2) / (cells.shape[2] - 1)
        deviation = torch.sqrt(variance + 1e-4)
        pooled = self.pooled_norm(torch.cat([mean, deviation, cells.amax(2)], 1))
        known = F.dropout(torch.cat([overall, pooled], 1), drop / 3, self.training)
        hidden = F.dropout(F.relu(self.hidden1(known)), drop, self.training)
        return F.dropout(F.relu(self.hidden2(hidden)), drop, self.training)

    def forward(self, local: Tensor, overall: Tensor) -> Tensor:
        """Scores (N,) 0..1."""
        return torch.sigmoid(self.score(self.features(local, overall)).flatten())


class BuiltinNetwork(nn.Module):
    """`Energies`, then the mean score (N,) of five judges, 0..100, differentiable.

    Judges differ in their initial weights (deep ensembles: Lakshminarayanan et al., NeurIPS 2017)
    and in the photographs held out for early stopping, on which the others were trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.energies = Energies()
        self.judges = nn.ModuleList(Judge() for _ in range(JUDGES))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N,) in 0..100 of images (N, 3, H, W) float grey levels, at least 64×64."""
        with torch.autocast(images.device.type, enabled=False):
            local, overall = self.energies(images)
        return 100.0 * torch.stack([judge(local, overall) for judge in self.judges]).mean(0)


def load_network() -> BuiltinNetwork:
    """The network with the weights that ship with the package."""
    network = BuiltinNetwork()
    network.load_state_dict(load((files("iqattack.models") / "builtin.safetensors").read_bytes()))
    return network.eval().requires_grad_(False)


def card() -> str:
    """The model card in Markdown: training data, abilities and limits."""
    return (files("iqattack.models") / "builtin.md").read_text(encoding="utf-8")


class Builtin:
    """The built-in model as a black box: pseudo-MOS 0..100, higher is better.

    On the CPU, images are scored one by one, each in one thread and several concurrently, so that a
    score depends neither on the batch nor on the number of cores, to the last bit. On a GPU, the
    batch is one pass, without this guarantee. Autocast and compilation apply to the judges only, as
    the energies need full float32 precision.
    """

    name = "builtin"
    score_range = (0.0, 100.0)
    lower_better = False
    min_size = 64

    def __init__(self, device: str = "cpu", inference: Inference = EAGER) -> None:
        """Raises InputError for a device that is not available."""
        self.network = load_network()
        self.device = usable_device(device)
        self.network.to(self.device)
        self.inference = inference
        for judge in self.network.judges:  # torch takes minutes over the rest, and gains nothing
            inference.compiled(judge, self.name)
        threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads, "builtin", torch.set_num_threads, (1,))

    def __call__(self, images: Tensor) -> Tensor:
        """Raw scores (N,) float64 of images (N, 3, H, W) uint8."""
        on_cpu = self.device.type == "cpu"
        parts = torch.split(sent(images, self.device), 1 if on_cpu else CHUNK)
        scored = self.pool.map(self._score, parts) if on_cpu else map(self._score, parts)
        none = torch.empty(0, device=self.device)
        return torch.cat([none, *scored]).to("cpu", torch.float64)

    def differentiable(self, images: Tensor) -> Tensor:
        """Raw scores (N,) of images (N, 3, H, W) of any type, with the autograd graph."""
        with self.inference.context(self.device):
            scores: Tensor = self.network(images.to(self.device).float())
        return scores

    @torch.inference_mode()
    def _score(self, images: Tensor) -> Tensor:
        return self.differentiable(images)
