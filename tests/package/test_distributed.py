"""Two processes with half of a batch each give the gradients of one with all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d

SCRIPT = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from crossattn3d import UCANet, UNet3d
torch.set_num_threads(1)
rank, meeting, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.manual_seed(rank)  # DDP has to bring both to the weights of the first
net = NET.double()
x = torch.randn(4, 1, 5, 12, 10, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
target = torch.arange(2400).reshape(4, 5, 12, 10) % 3
def gradients(model, part):
    net.zero_grad()
    torch.nn.functional.cross_entropy(model(x[part]), target[part]).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
wrapped = DistributedDataParallel(net)
together = gradients(wrapped, slice(2 * rank, 2 * rank + 2))
whole, half = gradients(net, slice(0, 4)), gradients(net, slice(0, 2))
torch.save((together, whole, half), f"{out}{rank}")
dist.destroy_process_group()
"""
NETS = {
    "UCANet": "UCANet(1, 3, (3, 4, 5), norm='instance')",
    "UCANet, checkpointed": "UCANet(1, 3, (3, 4, 5), norm='instance', use_checkpoint=True)",
    "UNet3d": "UNet3d(1, 3, (3, 4, 5), norm='instance')",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_whole_batch(name: str, tmp_path: Path) -> None:
    import torch

    source = str(Path(crossattn3d.__file__).parents[1])
    script = SCRIPT.replace("NET", NETS[name], 1)
    words = [str(tmp_path / "meeting"), str(tmp_path / "gradients")]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), *words],
            env=os.environ | {"PYTHONPATH": source},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said[-3000:]
    (first, whole, half), (second, *_) = (torch.load(f"{words[1]}{rank}", weights_only=True) for rank in range(2))
    assert torch.equal(first, second), "both processes have the same gradients, to the bit"
    # Instance norm keeps samples apart, so the mean over a batch is the mean of its halves' means. What is left is the
    # order of sums: a weight's gradient sums 2400 voxels, each rounded by eps, through fewer than 20 layers.
    allowed = 20 * 2400 * torch.finfo(torch.float64).eps * whole.abs().max()
    assert (first - whole).abs().max() <= allowed
    assert (half - whole).abs().max() > 1e6 * allowed, "one half alone would have been noticed"
