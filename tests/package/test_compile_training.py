"""Training in one compiled graph: losses, weights and batch statistics are those of training without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d

SCRIPT = """
import copy, sys, torch
from crossattn3d import UCANet, UNet3d
torch.set_num_threads(1)
torch.manual_seed(0)
net = NET.train()
twin = copy.deepcopy(net)
x, target = torch.randn(2, 1, 12, 16, 20), torch.randint(3, (2, 12, 16, 20))
step = torch.compile(twin, fullgraph=True, backend=sys.argv[1])
def train(model, parameters):
    # Not Adam, which makes a full step of the rounding error where a gradient is 0, as of biases before a norm.
    optimizer, losses = torch.optim.SGD(parameters, lr=0.1, momentum=0.9), []
    for _ in range(4):
        with torch.autocast("cpu", torch.bfloat16, enabled=AMP):
            logits = model(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
expected, found = train(net, net.parameters()), train(step, twin.parameters())
assert expected[-1] < expected[0] - 0.05, expected
rtol, atol = (5e-2, 5e-2) if AMP else (1e-3, 1e-4)
torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=rtol, atol=atol)
for (name, a), b in zip(twin.state_dict().items(), net.state_dict().values(), strict=True):
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda m: f"{name}: {m}")
print("trained", torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""
NETS = {"unet3d": "UNet3d(1, 3, (4, 6, 8))", "ucanet": "UCANet(1, 3, (4, 6, 8))"}


def trained(name: str, backend: str, amp: bool) -> None:
    script = SCRIPT.replace("NET", NETS[name]).replace("AMP", str(amp))
    done = subprocess.run(
        [sys.executable, "-c", script, backend],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(crossattn3d.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["trained", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETS)
def test_captured_and_differentiated(name: str, amp: bool) -> None:
    trained(name, "aot_eager", amp)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler")
@pytest.mark.parametrize("name", NETS)
def test_generated_code(name: str) -> None:
    trained(name, "inductor", amp=False)
