"""The parameter counts printed in the paper's Tables 1 and 2, and to the last parameter those of the design."""

import pytest
import torch

from crossattn3d import ConcatSkip, UCANet, UNet3d

COUNTS = {  # for 3 classes, without and with up_norm
    "concatenation": (6_419_747, 6_420_195),
    "sca": (5_840_268, 5_840_716),
    "cca": (5_904_323, 5_904_771),
    "csca": (5_905_452, 5_905_900),
}
PAPER = {"concatenation": "6.42", "sca": "5.84", "cca": "5.90", "csca": "5.91"}


def make(variant: str, out_channels: int, **options: object) -> UNet3d:
    with torch.device("meta"):
        if variant == "concatenation":
            return UNet3d(1, out_channels, **options)
        return UCANet(1, out_channels, attention=variant, **options)


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("up_norm", [False, True])
@pytest.mark.parametrize("variant", COUNTS)
def test_exact(variant, up_norm):
    assert count(make(variant, 3, up_norm=up_norm)) == COUNTS[variant][up_norm]


@pytest.mark.parametrize("up_norm", [False, True])
@pytest.mark.parametrize("out_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", PAPER)
def test_as_the_paper_rounds(variant, out_channels, up_norm):
    assert f"{count(make(variant, out_channels, up_norm=up_norm)) / 1e6:.2f}" == PAPER[variant]


@pytest.mark.parametrize("options", [{"norm": "instance"}, {"norm": "group"}, {"upsample": "interpolate"}])
@pytest.mark.parametrize("variant", COUNTS)
def test_norm_and_upsampling_do_not_change_the_count(variant, options):
    assert count(make(variant, 3, **options)) == COUNTS[variant][0]


@pytest.mark.parametrize("residual", [False, True])
def test_the_defaults_are_the_paper_nets(residual):
    assert count(make("csca", 3, residual=residual)) == COUNTS["csca"][0]
    assert count(make("concatenation", 3, skip=ConcatSkip)) == COUNTS["concatenation"][0]


def test_cosine_adds_one_temperature_per_attention():
    assert count(make("csca", 3, score_norm="cosine")) == COUNTS["csca"][0] + 3 * 2
