"""Folded nets say what the trained ones say, and leave them as they were."""

import pytest
import torch
from torch import nn

from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from support.random_parameters import randomize

WIDTHS = (2, 3, 5)


@pytest.mark.parametrize("make", [UNet3d, UCANet])
@pytest.mark.parametrize("upsample", ["transposed", "interpolate"])
@pytest.mark.parametrize("up_norm", [False, True])
def test_logits_are_the_same_without_batch_norm(make, upsample, up_norm):
    net = randomize(make(1, 3, WIDTHS, upsample=upsample, up_norm=up_norm), 1).double().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(2, 1, 8, 9, 11, dtype=torch.float64)
    folded = fold_batch_norm(net)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-11, atol=1e-11)
    assert type(folded) is make
    assert not any(module.training for module in folded.modules())
    assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_other_norms_stay(norm):
    net = UNet3d(1, 2, WIDTHS, norm=norm).eval()
    assert list(fold_batch_norm(net).state_dict()) == list(net.state_dict())


def test_the_norms_of_other_peoples_skips_stay():
    class Odd(nn.Sequential):
        """Its layers do not follow each other."""

        out_channels = 2

        def forward(self, query, context):
            return query + self[1](context) + self[0](context)

    def skip(decoder_channels, encoder_channels):
        return Odd(nn.Conv3d(encoder_channels, decoder_channels, 1), nn.BatchNorm3d(encoder_channels))

    net = randomize(UNet3d(1, 3, (2, 5), skip=skip), 1).double().eval()
    x = torch.randn(1, 1, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(fold_batch_norm(net)(x), net(x), rtol=1e-11, atol=1e-11)


def test_a_net_in_training():
    whole, part = UNet3d(1, 2, WIDTHS), UNet3d(1, 2, WIDTHS).eval()
    part.decoder[0].train()
    for net in (whole, part):
        with pytest.raises(ValueError, match=r"fold_batch_norm: expected a net in eval mode.*call net.eval\(\)"):
            fold_batch_norm(net)
