"""torch.compile without graph breaks, in a process of its own: run-time shape checks cannot be compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d

SCRIPTS = {
    "csca": """
        module = crossattn3d.CSCA(3, 4, score_norm="cosine", slice_dim=-1)
        inputs = torch.randn(2, 3, 4, 5, 6, requires_grad=True), torch.randn(2, 4, 4, 5, 6, requires_grad=True)
    """,
    "gated": """
        module = crossattn3d.UCANet(1, 2, (2, 3, 4, 5), gated=True).eval()
        inputs = (torch.randn(1, 1, 9, 10, 11, requires_grad=True),)
    """,
    "ucanet": """
        module = crossattn3d.UCANet(1, 2, (2, 3, 4, 5)).eval()
        inputs = (torch.randn(1, 1, 9, 10, 11, requires_grad=True),)
    """,
    "monai": """
        from crossattn3d.dropin import wrap_skips
        from monai.networks.nets import UNet
        module = wrap_skips(UNet(3, 1, 2, channels=(3, 4, 5), strides=(2, 2)), zero_init=True).eval()
        torch.nn.init.constant_(module.model.get_submodule("2").gate, 0.5)
        inputs = (torch.randn(1, 1, 8, 12, 16, requires_grad=True),)
    """,
    "nnunet": """
        from crossattn3d.dropin import wrap_skips
        from dynamic_network_architectures.architectures.unet import PlainConvUNet
        conv, norm = torch.nn.Conv3d, torch.nn.InstanceNorm3d
        kernels, strides = [(1, 3, 3), (3, 3, 3), (3, 3, 3)], [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
        kinds = dict(norm_op=norm, norm_op_kwargs=dict(affine=True), nonlin=torch.nn.LeakyReLU)
        module = wrap_skips(PlainConvUNet(1, 3, (3, 4, 5), conv, kernels, strides, 1, 2, 1, **kinds)).eval()
        inputs = (torch.randn(1, 1, 8, 12, 16, requires_grad=True),)
    """,
}
NEEDS = {"monai": "monai", "nnunet": "dynamic_network_architectures"}
COMPARE = """
compiled = torch.compile(module, fullgraph=True, backend=sys.argv[1])
expected, actual = module(*inputs), compiled(*inputs)
torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
if torch.is_grad_enabled():
    leaves = [*inputs, *module.parameters()]
    gradients = [torch.autograd.grad(out.square().sum(), leaves, allow_unused=True) for out in (expected, actual)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)
print("compiled", torch._dynamo.utils.counters["stats"]["unique_graphs"])
torch._dynamo.reset()
kept = []
look = lambda graph, _: kept.append(graph.print_readable(False)) or graph
torch.compile(module, fullgraph=True, backend=look)(*inputs)
assert "crossattn3d.attend" in kept[0]
assert "beartype" not in sys.modules
"""


def compiled(name: str, backend: str, grad: bool) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    body = "\n".join(line.strip() for line in SCRIPTS[name].splitlines())
    setup = f"torch.manual_seed(0)\ntorch.set_num_threads(1)\ntorch.set_grad_enabled({grad})"
    source = str(Path(crossattn3d.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, torch, crossattn3d\n{setup}\n{body}\n{COMPARE}", backend],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["compiled", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_one_graph_gives_the_same_values_and_gradients(name):
    """Captured and differentiated as in training, without generating code."""
    compiled(name, "aot_eager", grad=True)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler")
def test_generated_code_gives_the_same():
    compiled("csca", "inductor", grad=False)
