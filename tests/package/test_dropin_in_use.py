"""Wrapped nets as people run them: other options, layouts, precisions, volumes, compiled, exported, in parallel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossattn3d.dropin import unwrap_skips, wrap_skips
from support import SUPPORT
from support.monai_and_nnunet_nets import OTHER_NETS
from support.random_parameters import assert_close, generator, normal, randomize
from support.wrapped_nets import logits, volume


@pytest.mark.parametrize("name", ["BasicUNet", "SegResNet", "SegResNetDS", "UNETR"])
def test_channels_last(name: str) -> None:
    """The same numbers in another order in memory: convolutions may sum in another order."""
    net = randomize(wrap_skips(OTHER_NETS[name].make(3)), 14).double().eval()
    x = volume(name, dtype=torch.float64)
    expected = logits(net, x)
    net.to(memory_format=torch.channels_last_3d)
    got = logits(net, x.contiguous(memory_format=torch.channels_last_3d))
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 1e-10)


ANISOTROPIC = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": (3, 4, 5)}
SMALL = {"init_filters": 4, "blocks_down": (1, 1, 1)}
TRANSFORMER = {"img_size": (16, 32, 48), "feature_size": 3, "hidden_size": 12, "mlp_dim": 16, "num_heads": 2}
SWIN = {"depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2), "feature_size": 12}
#: A net of MONAI, options other than those of OTHER_NETS, and a volume's size.
OPTIONS = [
    ("BasicUNet", {"features": (3, 4, 5, 6, 8, 7), "upsample": "pixelshuffle"}, (18, 33, 50)),
    ("BasicUNet", {"features": (3, 4, 5, 6, 8, 7), "upsample": "nontrainable"}, (18, 33, 50)),
    ("BasicUNetPlusPlus", {"features": (3, 4, 6, 8, 10, 5), "upsample": "nontrainable"}, (18, 33, 50)),
    ("UNet", {"channels": (3, 4, 6), "strides": (2, (1, 2, 2)), "act": "relu", "norm": "batch"}, (16, 32, 48)),
    ("UNet", {"channels": (3, 4), "strides": (2,), "num_res_units": 2, "norm": None, "bias": False}, (16, 32, 48)),
    ("UNet", {"channels": (3, 4, 6, 6), "strides": (1, 2, 2), "up_kernel_size": 5, "dropout": 0.2}, (16, 32, 48)),
    ("AttentionUnet", {"channels": (4, 6, 8), "strides": (2, (1, 2, 2)), "dropout": 0.2}, (16, 32, 48)),
    ("DynUNet", {**ANISOTROPIC, "res_block": True, "dropout": 0.2, "trans_bias": True}, (16, 32, 48)),
    ("FlexibleUNet", {"backbone": "efficientnet-b0", "spatial_dims": 2, "upsample": "deconv"}, (64, 96)),
    ("FlexibleUNet", {"backbone": "resnet10", "spatial_dims": 2, "upsample": "pixelshuffle"}, (64, 96)),
    ("UNETR", {**TRANSFORMER, "res_block": False, "conv_block": False, "proj_type": "perceptron"}, (16, 32, 48)),
    ("SwinUNETR", {**SWIN, "spatial_dims": 2, "use_v2": True, "norm_name": "batch", "normalize": False}, (64, 96)),
    ("VNet", {"spatial_dims": 2, "act": "prelu", "bias": True, "dropout_prob_up": (None, 0.5)}, (32, 48)),
    ("SegResNet", {"blocks_down": (1, 1), "blocks_up": (1,), "upsample_mode": "deconv"}, (16, 32, 48)),
    ("SegResNet", {"blocks_down": (1, 1), "blocks_up": (2,), "upsample_mode": "pixelshuffle"}, (16, 32, 48)),
    ("SegResNetDS", {**SMALL, "upsample_mode": "nontrainable"}, (16, 32, 48)),
    ("SegResNetDS", {**SMALL, "upsample_mode": "pixelshuffle", "blocks_up": (0, 1)}, (16, 32, 48)),
    ("AHNet", {"layers": (1, 1, 1, 1), "spatial_dims": 2, "psp_block_num": 0, "upsample_mode": "bilinear"}, (64, 96)),
]


@pytest.mark.parametrize(("name", "options", "size"), OPTIONS)
def test_other_options_of_these_nets(name: str, options: dict, size: tuple[int, ...]) -> None:
    """Sizes that MONAI pads where it joins maps work, too: the attention gets maps of one size."""
    kind = getattr(pytest.importorskip("monai.networks.nets"), name)
    net = kind(**{"spatial_dims": 3, "in_channels": 1, "out_channels": 2} | options)
    randomize(net, 11).eval()
    x, attention = normal((1, 1, *size), generator(0), torch.float32), "cca" if len(size) == 2 else "csca"
    before = logits(net, x)
    wrap_skips(net, zero_init=True, attention=attention)
    assert all(torch.equal(a, b) for a, b in zip(logits(net, x), before, strict=True))
    unwrap_skips(net)
    instead = OTHER_NETS[name].takes is None
    after = logits(wrap_skips(net, concatenate=not instead, attention=attention), x)
    assert [out.shape for out in after] == [out.shape for out in before]
    assert not torch.allclose(after[0], before[0], rtol=0.01)


@pytest.mark.parametrize(
    ("name", "dimensions"), [("BasicUNet", 3), ("SegResNet", 3), ("SegResNetDS", 3), ("MedNeXt", 3), ("VNet", 2)]
)
def test_monai_volumes_with_their_affine(name: str, dimensions: int) -> None:
    data = pytest.importorskip("monai.data")
    attention = "csca" if dimensions == 3 else "cca"
    net = randomize(wrap_skips(OTHER_NETS[name].make(dimensions), attention=attention), 9).eval()
    x = volume(name, dimensions)
    affine = torch.diag(torch.tensor([0.7, 0.8, 2.5, 1.0], dtype=torch.float64))
    out = net(data.MetaTensor(x, affine=affine))
    assert isinstance(out, data.MetaTensor)
    assert torch.equal(out.affine, affine)
    assert torch.equal(out.as_tensor(), net(x))


@pytest.mark.parametrize("name", ["BasicUNet", "SegResNet", "SegResNetDS"])
def test_mixed_precision(name: str) -> None:
    net = randomize(wrap_skips(OTHER_NETS[name].make(3), zero_init=True), 10)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = logits(net, volume(name))
    assert all(torch.isfinite(out).all() for out in outputs)
    sum(out.float().square().mean() for out in outputs).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 2**16),
)
def test_any_widths_and_sizes(widths: list[int], size: tuple[int, int, int], seed: int) -> None:
    kind = pytest.importorskip("monai.networks.nets").UNet
    net = randomize(kind(3, 1, 2, widths, [2] * (len(widths) - 1), norm="batch"), seed).eval()
    x = normal((2, 1, *(n * 2 ** (len(widths) - 1) for n in size)), generator(seed), torch.float32)
    with torch.no_grad():
        before, keys = net(x), list(net.state_dict())
        assert torch.equal(wrap_skips(net, zero_init=True)(x), before)
        assert list(unwrap_skips(net).state_dict()) == keys
        assert torch.equal(net(x), before)
        assert wrap_skips(net, concatenate=False)(x).shape == before.shape


COMPILED = """
import sys
import torch
from crossattn3d.dropin import wrap_skips
from support.monai_and_nnunet_nets import OTHER_NETS
from support.random_parameters import randomize

torch.set_num_threads(1)
name, dimensions = sys.argv[1], int(sys.argv[2])
attention = "csca" if dimensions == 3 else "cca"
net = randomize(wrap_skips(OTHER_NETS[name].make(dimensions), attention=attention), 16).eval()
x = torch.randn(1, 1, *(16, 32, 48)[-dimensions:])
with torch.no_grad():
    expected = net(x)
    # A concatenation with the map of an AttendedMap is not traced: the graph has a break there.
    compiled = torch.compile(net, backend="eager", fullgraph=name != "VNet")
    assert torch.equal(compiled(x), expected)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), expected, rtol=1e-3, atol=1e-4)
print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dimensions"), [("UNet", 3), ("SegResNet", 3), ("MedNeXt", 3), ("VNet", 2)])
def test_compiled_and_exported(name: str, dimensions: int) -> None:
    OTHER_NETS[name].make(2)  # skips if its library is missing
    here = SUPPORT.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent / "src"), str(here)])}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, name, str(dimensions)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["the", "same"]


DISTRIBUTED = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from crossattn3d.dropin import wrap_skips
from support.monai_and_nnunet_nets import OTHER_NETS

rank, place, name = int(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
torch.manual_seed(0)
distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=2)
alone = wrap_skips(OTHER_NETS[name].make(3), zero_init=True).double()
for key, parameter in alone.named_parameters():
    if key.endswith("gate"):
        torch.nn.init.constant_(parameter, 0.5)
together = DistributedDataParallel(alone)
x = torch.randn(4, 1, 16, 32, 48, dtype=torch.float64)

def loss(net, x):
    out = net(x)
    return sum(o.square().mean() for o in (out if isinstance(out, list) else [out]))

expected = torch.autograd.grad(loss(alone, x), list(alone.parameters()))
loss(together, x[2 * rank : 2 * rank + 2]).backward()
for (key, parameter), gradient in zip(alone.named_parameters(), expected):
    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12, msg=key)
distributed.destroy_process_group()
print("the same", len(expected))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BasicUNet", "PlainConvUNet", "SegResNet"])
def test_two_processes_have_the_gradients_of_one(name: str, tmp_path: Path) -> None:
    OTHER_NETS[name].make(3)  # skips if its library is missing
    here = SUPPORT.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parent / "src"), str(here)])}
    words = [[sys.executable, "-c", DISTRIBUTED, str(rank), str(tmp_path / "meet"), name] for rank in (0, 1)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen(line, **pipes) for line in words]
    for process in processes:
        out, error = process.communicate()
        assert process.returncode == 0, error[-2000:]
        assert out.startswith("the same ")
