"""FLOPs of the attention's operations against those that PyTorch counts for the same matrix products one by one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import crossattn3d
from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import operation
from support.backends import FAST
from support.random_parameters import maps

KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
SIZE = (4, 5, 6)


def counted(module: nn.Module) -> tuple[int, int]:
    """Forward and backward."""
    query, context = (x.float().requires_grad_() for x in maps(1, 2, 3, 7, SIZE))
    with FlopCounterMode(display=False) as forward:
        out = module(query, context)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("slice_dim", [-3, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_counted_one_by_one(kind, score_norm, slice_dim, backend, monkeypatch):
    module = kind(3, 7, score_norm=score_norm, slice_dim=slice_dim, backend=backend)
    actual = counted(module)
    monkeypatch.setattr(operation, "is_transformed", lambda *_: True)
    expected = counted(module)
    voxels, depth = 2 * 4 * 5 * 6, SIZE[slice_dim]
    # Queries, keys and values of one channel, and their mixture.
    again = 0 if kind is ChannelCrossAttention3d else 2 * voxels * (3 + 2 * 7 + depth)
    assert actual[0] == expected[0] > 0
    assert actual[1] == expected[1] + again


def test_without_memory_and_by_module():
    net = UCANet(1, 2, (4, 6)).to("meta")
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(2, 1, 4, 6, 8, device="meta"))
    flops = counter.get_flop_counts()
    assert sum(flops["UCANet.skips.0"].values()) == counted_alone(net.skips[0]) > 0
    assert torch.ops.crossattn3d.attend in flops["UCANet.skips.0"]


def counted_alone(skip: nn.Module) -> int:
    x = torch.empty(2, 4, 4, 6, 8, device="meta")
    with FlopCounterMode(display=False) as counter:
        skip(x, x)
    return counter.get_total_flops()


def test_a_formula_of_the_user_is_taken():
    with FlopCounterMode(display=False, custom_mapping={torch.ops.crossattn3d.attend: lambda *_, **__: 7}) as counter:
        CSCA(3)(*(x.float() for x in maps(1, 1, 3, 3, SIZE)))
    assert counter.get_total_flops() == 7


SCRIPT = """
import sys, torch, crossattn3d
maps = torch.ones(1, 3, 2, 4, 5), torch.ones(1, 3, 2, 4, 5)
crossattn3d.CSCA(3)(*maps)
assert "torch.utils.flop_counter" not in sys.modules
from torch.utils.flop_counter import FlopCounterMode
with FlopCounterMode(display=False) as counter:
    crossattn3d.CSCA(3)(*maps)
assert counter.get_total_flops() > 0
"""


@pytest.mark.slow
def test_the_counter_is_not_imported_and_counts_when_it_is():
    """It imports Triton, which takes long."""
    environment = os.environ | {"PYTHONPATH": str(Path(crossattn3d.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
