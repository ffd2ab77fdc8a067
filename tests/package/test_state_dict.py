"""The names and shapes of all weights, as they were published: weights that others have trained have to load."""

from pathlib import Path

import pytest
import torch
from torch import nn

from crossattn3d import CSCA, UCANet, UNet3d

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "unet3d": lambda: UNet3d(1, 3),
    "ucanet": lambda: UCANet(1, 3),
    "ucanet_options": lambda: UCANet(
        2, 4, (8, 16), attention="csca", score_norm="cosine", norm="instance", up_norm=True, upsample="interpolate"
    ),
    "ucanet_supervised": lambda: UCANet(1, 3, (8, 16, 24), deep_supervision=True),
    "ucanet_cca": lambda: UCANet(1, 3, (8, 16), attention="cca"),
    "ucanet_sca": lambda: UCANet(1, 3, (8, 16), attention="sca", norm="group"),
    "csca": lambda: CSCA(32, 16),
}


def lines(module: nn.Module) -> str:
    """A line per tensor of the state_dict, in its order: name and shape."""
    shapes = {name: "x".join(map(str, value.shape)) or "scalar" for name, value in module.state_dict().items()}
    return "".join(f"{name} {shape}\n" for name, shape in shapes.items())


@pytest.mark.parametrize("name", CASES)
def test_the_keys_are_what_they_were(name: str) -> None:
    """If this fails, weights of the published version no longer load: rename nothing, or convert what is loaded."""
    with torch.device("meta"):
        module = CASES[name]()
    assert lines(module) == (GOLDEN / f"{name}.txt").read_text()
