"""Export the models of iqattack to ONNX, and compare their scores with PyTorch's.

    python examples/export_onnx.py FOLDER [--weights cnniqa.pth]

The graphs take float32 grey levels 0..255, (N, 3, H, W), of any N, H and W, so iqattack runs them
with `--input float255`. To export a model of your own, put its network into `main`.
"""

import argparse
import logging
import warnings
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from iqattack.models import builtin, cnniqa, load_model

AXES = {0: "n", 2: "height", 3: "width"}


def export(network: nn.Module, path: Path) -> None:
    """Write a network of images (N, 3, H, W) float grey levels as an ONNX graph."""
    # Two images: for one, the exporter would take N = 1 for granted.
    images = torch.rand(2, 3, 96, 128) * 255
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own parts
        torch.onnx.export(
            network,
            (images,),
            path,
            input_names=["images"],
            output_names=["score"],
            dynamo=True,  # the older exporter takes the sides of this picture for constants
            dynamic_shapes=(AXES,),
            external_data=False,
            verbose=False,
        )


def quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """As the built-in model's, which sorts with NumPy, where no exporter sees it."""
    place = shares * (values.shape[-1] - 1)
    low, high = place.floor().long(), place.ceil().long()
    ranked = values.sort(-1).values
    return torch.lerp(ranked[..., low], ranked[..., high], place - low)


def export_builtin(path: Path) -> None:
    """The built-in model, with operations that a graph can hold."""
    # One band: how many an image is cut into would be a constant of the graph.
    with patch.multiple(builtin, quantiles=quantiles, BAND=2**40):
        export(builtin.load_network(), path)


def largest_difference(onnx_spec: str, spec: str) -> float:
    """Between scores of the two, over pictures of several sizes, as a fraction of the range."""
    ours = load_model(spec)
    graph = load_model(
        onnx_spec, score_range=ours.score_range, lower_better=ours.lower_better, input="float255"
    )
    random = torch.Generator().manual_seed(0)
    low, high = ours.score_range
    found = 0.0
    for height, width in ((64, 64), (96, 128), (224, 224), (301, 215)):
        # Half noise, half smooth.
        noise = torch.randint(256, (2, 3, height, width), generator=random).float()
        noise[1] = noise[1].cumsum(-1) / torch.arange(1, width + 1)
        images = noise.round().byte()
        apart = torch.as_tensor(graph(images)) - torch.as_tensor(ours(images))
        found = max(found, float(apart.abs().max()) / (high - low))
    return found


def main() -> None:
    """Export what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="of CNNIQA, to export it, too")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    specs = {"builtin": "builtin"}
    export_builtin(options.folder / "builtin.onnx")
    if options.weights:
        specs["cnniqa"] = f"cnniqa:{options.weights}"
        export(cnniqa.load_network(options.weights), options.folder / "cnniqa.onnx")
    for name, spec in specs.items():
        path = options.folder / f"{name}.onnx"
        apart = largest_difference(f"onnx:{path}", spec)
        print(f"{path}: largest difference from PyTorch {apart:.1e} of the score range")


if __name__ == "__main__":
    main()
