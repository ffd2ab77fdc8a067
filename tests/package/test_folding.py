"""Folded nets say what the trained ones say, and leave them as they were."""

import pytest
import torch
from torch import nn

from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from support.lora import LoraConv3d
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


def hook(net):
    net.encoder[0][0].register_forward_hook(lambda _m, _x, out: 2 * out)


def hook_of_a_norm(net):
    net.encoder[0][1].register_forward_hook(lambda _m, _x, out: 2 * out)


def old_weight_norm(net):
    nn.utils.weight_norm(net.encoder[0][0])
    net.eval()(torch.randn(1, 1, 4, 5, 6, dtype=torch.float64))


def parametrization(net):
    nn.utils.parametrizations.spectral_norm(net.ups[0].conv)


def lora(net):
    net.encoder[0][0] = LoraConv3d(net.encoder[0][0])
    nn.init.normal_(net.encoder[0][0].lora_B.weight)


def no_statistics(net):
    net.encoder[0][1].running_mean = net.encoder[0][1].running_var = None


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("change", [hook, hook_of_a_norm, old_weight_norm, parametrization, lora, no_statistics])
def test_layers_that_were_changed_stay_and_the_others_are_folded(change):
    net = randomize(UNet3d(1, 3, (2, 5), up_norm=True, kernel_sizes=(1, 3), strides=(1,)), 1).double().eval()
    with torch.no_grad():
        change(net.eval())
    x = torch.randn(2, 1, 4, 5, 6, dtype=torch.float64)
    folded = fold_batch_norm(net.eval())
    torch.testing.assert_close(folded(x), net(x), rtol=1e-11, atol=1e-11)
    norms = [sum(isinstance(m, nn.BatchNorm3d) for m in n.modules()) for n in (net, folded)]
    assert norms == [7, 1]


def test_a_net_in_training():
    whole, part = UNet3d(1, 2, WIDTHS), UNet3d(1, 2, WIDTHS).eval()
    part.decoder[0].train()
    for net in (whole, part):
        with pytest.raises(ValueError, match=r"fold_batch_norm: expected a net in eval mode.*call net.eval\(\)"):
            fold_batch_norm(net)
