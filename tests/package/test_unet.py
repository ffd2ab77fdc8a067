"""The U-Net: sizes, widths and order of its parts, its options, dtypes and layouts."""

import copy
import pickle

import pytest
import torch
from torch import nn

from crossattn3d import ConcatSkip, UNet3d
from crossattn3d._layers.norms import InstanceNorm
from crossattn3d.unet import ConvBlock, UpConv
from support.random_parameters import assert_close, generator, normal, randomize

NARROW = (2, 3, 4, 5)


def volume(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return normal(shape, generator(0), dtype)


def sizes_through(net: UNet3d, x: torch.Tensor) -> dict[str, list[tuple[int, ...]]]:
    """Shape of what comes out of each encoder block, up-convolution, skip and decoder block."""
    seen: dict[str, list[tuple[int, ...]]] = {}
    for part in ("encoder", "ups", "skips", "decoder"):
        for module in getattr(net, part):
            module.register_forward_hook(
                lambda _m, _i, out, part=part: seen.setdefault(part, []).append(tuple(out.shape[1:]))
            )
    net(x)
    return seen


def test_the_path_of_an_odd_volume():
    seen = sizes_through(UNet3d(1, 3, NARROW).eval(), volume(1, 1, 33, 34, 35))
    assert seen["encoder"] == [(2, 33, 34, 35), (3, 17, 17, 18), (4, 9, 9, 9), (5, 5, 5, 5)]
    assert seen["ups"] == seen["decoder"] == [(4, 9, 9, 9), (3, 17, 17, 18), (2, 33, 34, 35)]
    assert seen["skips"] == [(8, 9, 9, 9), (6, 17, 17, 18), (4, 33, 34, 35)]


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match=r"^UNet3d: expected odd kernel_sizes, which keep the size; got \(\(3, 2, 3\)"):
        UNet3d(1, 2, (2, 3), kernel_sizes=[(3, 2, 3), 3])


def test_anisotropic_strides_and_kernels():
    net = UNet3d(2, 3, (2, 3, 4), strides=[(1, 2, 3), 2], kernel_sizes=[(1, 3, 5), 3, (3, 1, 3)]).eval()
    assert net.strides == ((1, 2, 3), (2, 2, 2))
    assert net.kernel_sizes == ((1, 3, 5), (3, 3, 3), (3, 1, 3))
    seen = sizes_through(net, volume(1, 2, 3, 9, 13))
    assert seen["encoder"] == [(2, 3, 9, 13), (3, 3, 5, 5), (4, 2, 3, 3)]
    assert seen["ups"] == [(3, 3, 5, 5), (2, 3, 9, 13)]
    kernels = [tuple(m.kernel_size) for m in net.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    fine, middle, coarse = (1, 3, 5), (3, 3, 3), (3, 1, 3)
    assert sorted(kernels) == sorted([*[fine] * 5, *[middle] * 5, *[coarse] * 2, (1, 1, 1)])


@pytest.mark.parametrize("channels", [(2, 3), (2, 3, 4), (3, 2, 2, 4, 5)])
def test_any_number_of_levels(channels):
    net = UNet3d(1, 2, channels).eval()
    size = (2 ** (len(channels) - 1), 2 ** (len(channels) - 1) + 1, 2 ** len(channels))
    assert net.channels == channels
    assert net(volume(1, 1, *size)).shape == (1, 2, *size)


def test_deep_supervision_gives_a_list_and_can_be_switched():
    net = UNet3d(1, 3, NARROW, strides=[(1, 2, 2), 2, 2], deep_supervision=True).eval()
    seen = {}
    for i, block in enumerate(net.decoder):
        block.register_forward_hook(lambda _m, _i, out, i=i: seen.update({i: out}))
    supervised = net(volume(1, 1, 8, 18, 33))
    assert [tuple(x.shape) for x in supervised] == [(1, 3, 8, 18, 33), (1, 3, 8, 9, 17), (1, 3, 4, 5, 9)]
    heads = [net.head, *net.auxiliary_heads]
    assert all(torch.equal(x, head(seen[i])) for i, (x, head) in enumerate(zip(supervised, heads, strict=True)))
    keys = list(net.state_dict())
    net.deep_supervision = False
    assert torch.equal(net(volume(1, 1, 8, 18, 33)), supervised[0])
    assert list(net.state_dict()) == keys
    plain = UNet3d(1, 3, NARROW, strides=[(1, 2, 2), 2, 2])
    assert set(keys) - set(plain.state_dict()) == {
        f"auxiliary_heads.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")
    }


def test_deep_supervision_trains_every_head_and_level():
    net = UNet3d(1, 3, NARROW, deep_supervision=True, use_checkpoint=True)
    sum(x.square().mean() for x in net(volume(2, 1, 9, 10, 11))).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    two = UNet3d(1, 3, (2, 3), deep_supervision=True).eval()
    assert [tuple(x.shape) for x in two(volume(1, 1, 4, 6, 8))] == [(1, 3, 4, 6, 8)]


@pytest.mark.parametrize("up_norm", [False, True])
@pytest.mark.parametrize("upsample", ["transposed", "interpolate"])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_options(norm, upsample, up_norm):
    net = UNet3d(1, 2, NARROW, norm=norm, upsample=upsample, up_norm=up_norm)
    assert (net.norm, net.upsample, net.up_norm) == (norm, upsample, up_norm)
    kind = {"batch": nn.BatchNorm3d, "instance": InstanceNorm, "group": nn.GroupNorm}[norm]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d | nn.GroupNorm)]
    assert len(norms) == 4 * 2 + 3 * 2 + 3 * up_norm
    assert all(type(m) is kind and m.weight is not None and m.bias is not None for m in norms)
    assert sum(isinstance(m, nn.ConvTranspose3d) for m in net.modules()) == 3 * (upsample == "transposed")
    net(volume(2, 1, 9, 10, 11)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_the_skip_is_called_with_decoder_and_encoder_of_one_size():
    asked, joined = [], []

    class Difference(nn.Module):
        out_channels = 7

        def __init__(self, width: int) -> None:
            super().__init__()
            self.out = nn.Conv3d(width, 7, 1)

        def forward(self, query, context):
            joined.append((query, context))
            return self.out(query - context)

    def factory(decoder_channels, encoder_channels):
        asked.append((decoder_channels, encoder_channels))
        return Difference(encoder_channels)

    net = UNet3d(1, 2, NARROW, skip=factory).eval()
    assert asked == [(2, 2), (3, 3), (4, 4)]
    encoded, upsampled = [], []
    for block in net.encoder:
        block.register_forward_hook(lambda _m, _i, out: encoded.append(out))
    for up in net.ups:
        up.register_forward_hook(lambda _m, _i, out: upsampled.append(out))
    assert net(volume(1, 1, 9, 10, 11)).shape == (1, 2, 9, 10, 11)
    for (query, context), up, level in zip(joined, upsampled, encoded[-2::-1], strict=True):
        assert torch.equal(query, up)
        assert torch.equal(context, level)
    assert all(block[0].in_channels == 7 for block in net.decoder)


def test_concatenation_puts_the_encoder_first():
    query, context = volume(1, 2, 3, 4, 5), volume(1, 3, 3, 4, 5) + 1
    skip = ConcatSkip(2, 3)
    assert skip.out_channels == 5
    assert torch.equal(skip(query, context)[:, :3], context)
    assert torch.equal(skip(query, context)[:, 3:], query)


def test_logits_are_raw():
    out = randomize(UNet3d(1, 3, NARROW), 1).eval()(volume(1, 1, 9, 10, 11))
    assert out.min() < 0
    assert not torch.allclose(out.sum(1), torch.ones(()))


def test_one_sample_in_eval_equals_the_same_in_a_batch():
    net = randomize(UNet3d(1, 2, NARROW), 2).double().eval()
    x = volume(2, 1, 9, 10, 11, dtype=torch.float64)
    assert_close(net(x[1:]), net(x)[1:], 1e-12)


def test_batch_statistics_only_in_training():
    net = randomize(UNet3d(1, 2, NARROW), 3)
    x = volume(2, 1, 9, 10, 11)
    evaluated = net.eval()(x)
    assert torch.equal(net(x), evaluated)
    trained = net.train()(x)
    assert not torch.allclose(trained, evaluated, atol=1e-3)
    assert not torch.equal(net.eval()(x), evaluated)  # the running statistics moved


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_other_norms_do_not_know_training(norm):
    net = randomize(UNet3d(1, 2, NARROW, norm=norm), 3)
    x = volume(2, 1, 9, 10, 11)
    assert torch.equal(net.train()(x), net.eval()(x))


def test_one_voxel_at_the_deepest_level():
    """Fine where nothing takes a variance over that voxel; the others are among the errors."""
    for options in ({"norm": "batch"}, {"norm": "group"}):
        assert UNet3d(1, 2, (2, 3, 4, 16), **options).eval()(volume(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)
    assert UNet3d(1, 2, NARROW).train()(volume(2, 1, 8, 8, 8)).shape == (2, 2, 8, 8, 8)
    assert UNet3d(1, 2, NARROW, norm="instance")(volume(1, 1, 8, 8, 9)).shape == (1, 2, 8, 8, 9)


def test_channels_last_gives_the_same():
    net = randomize(UNet3d(1, 2, NARROW), 4).double().eval()
    x = volume(2, 1, 9, 10, 11, dtype=torch.float64)
    expected = net(x)
    net = net.to(memory_format=torch.channels_last_3d)
    assert_close(net(x.contiguous(memory_format=torch.channels_last_3d)), expected, 1e-12)
    assert_close(net(x.transpose(2, 4).contiguous().transpose(2, 4)), expected, 1e-12)


@pytest.mark.parametrize("upsample", ["transposed", "interpolate"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype, upsample):
    net = randomize(UNet3d(1, 2, (2, 3), upsample=upsample), 5).eval()
    x = volume(1, 1, 4, 5, 6)
    out = copy.deepcopy(net).to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert_close(out.float(), net(x), 0.1 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    net = randomize(UNet3d(1, 2, (2, 3)), 6).eval()
    x = volume(1, 1, 4, 5, 6)
    with torch.autocast("cpu", dtype):
        out = net(x)
    assert out.dtype == dtype
    assert_close(out.float(), net(x), 0.1)


def test_state_dict_round_trip_and_copies():
    net = randomize(UNet3d(1, 2, NARROW), 7).eval()
    x = volume(1, 1, 9, 10, 11)
    other = UNet3d(1, 2, NARROW).eval()
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    for same in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(same(x), net(x))


def test_no_parameter_is_registered_twice():
    net = UNet3d(1, 2, NARROW)
    assert len(list(net.named_parameters(remove_duplicate=False))) == len(list(net.parameters()))
    assert {key.split(".")[0] for key in net.state_dict()} == {"encoder", "ups", "decoder", "head"}


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 3), (3, 1, 2)])
@pytest.mark.parametrize("upsample", ["transposed", "interpolate"])
def test_up_convolution_reaches_every_size_that_pools_to_its_input(upsample, stride):
    up = UpConv(2, 3, stride=stride, upsample=upsample)
    x = volume(1, 2, 2, 3, 4)
    for less in (0, 1):
        size = [n * s - less * (s > 1) for n, s in zip((2, 3, 4), stride, strict=True)]
        out = up(x, size)
        assert out.shape == (1, 3, *size)
        # No voxel is out of reach of the kernel: where no weight arrives, only the bias is left.
        assert (out != up.conv.bias.view(1, 3, 1, 1, 1)).all()


def test_conv_block_is_convolution_norm_relu_twice():
    block = ConvBlock(2, 4, (1, 3, 5), "instance")
    kinds = [nn.Conv3d, InstanceNorm, nn.ReLU] * 2
    assert all(isinstance(layer, kind) for layer, kind in zip(block, kinds, strict=True))
    assert [(layer.in_channels, layer.out_channels) for layer in (block[0], block[3])] == [(2, 4), (4, 4)]
    assert all(layer.bias is not None for layer in (block[0], block[3]))
    assert block(volume(1, 2, 3, 4, 5)).shape == (1, 4, 3, 4, 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UpConv(4, 2, upsample="nearest"), "UpConv: expected upsample to be one of .*; got 'nearest'"),
        (lambda: UpConv(4, 2, norm="layer"), "expected norm to be one of 'batch', 'instance', 'group'; got 'layer'"),
        (lambda: ConvBlock(4, 2, norm="layer"), "expected norm to be one of 'batch', 'instance', 'group'; got 'layer'"),
    ],
)
def test_the_parts_refuse_unknown_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
