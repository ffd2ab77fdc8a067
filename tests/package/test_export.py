"""torch.export without the operation of our own, at any depth and batch; in a process of its own, as torch.compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d

#: Name: (module, inputs at a depth, how depths are written).
CASES = {
    "csca": ("crossattn3d.CSCA(3, 4, score_norm='cosine')", "volume(3, d, 5, 6), volume(4, d, 5, 6)", "depth"),
    "csca, slices last": (
        "crossattn3d.CSCA(3, 4, slice_dim=-1, residual=False)",
        "volume(3, d, 5, 6), volume(4, d, 5, 6)",
        "depth",
    ),
    "gated": ("crossattn3d.UCANet(1, 2, (2, 3, 4, 5), gated=True)", "volume(1, d, 16, 24),", "8 * depth"),
    "ucanet": ("crossattn3d.UCANet(1, 2, (2, 3, 4, 5))", "volume(1, d, 16, 24),", "8 * depth"),
}
SCRIPT = """
import sys, torch, crossattn3d
torch.set_num_threads(1)
torch.manual_seed(0)
def volume(*shape): return torch.randn(batch, *shape)
def inputs(d): return ({inputs})
module = {module}.eval()
depth, batch = torch.export.Dim("depth", min=2, max=20), 2
example = inputs(16)
shapes = tuple({{0: torch.export.Dim("batch", min=1, max=8), 2: {depth}}} for _ in example)
exported = torch.export.export(module, example, dynamic_shapes=shapes)
assert "crossattn3d" not in str([node.target for node in exported.graph.nodes])
for d, batch in ((16, 1), (24, 2), (40, 3)):
    given = inputs(d if "{depth}" != "depth" else d // 2)
    torch.testing.assert_close(exported.module()(*given), module(*given), rtol=1e-4, atol=1e-5)
print("exported")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_exported_it_gives_the_same_at_other_depths_and_batches(name):
    module, inputs, depth = CASES[name]
    source = str(Path(crossattn3d.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module, inputs=inputs, depth=depth)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["exported"]
