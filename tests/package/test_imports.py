"""What importing the package brings along: nothing that takes long, and the modules on demand once they are named."""

import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d

SOURCE = str(Path(crossattn3d.__file__).parents[1])

#: Prints what a piece of code imports besides what `import torch` does, and besides the packages that are needed.
NEW_MODULES = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
before = set(sys.modules)
exec(sys.argv[2])
print("\\n".join(set(sys.modules) - before))
"""

#: Modules of which none may come along, with all that lies below them.
HEAVY = ("torch._dynamo", "torch._inductor", "torch.onnx", "torch.utils.cpp_extension", "torch.fx.experimental",
         "torch.utils.checkpoint", "torch.utils.tensorboard", "torch.testing", "sympy", "mpmath", "networkx", "triton",
         "onnx", "safetensors", "huggingface_hub", "scipy", "matplotlib", "monai", "SimpleITK")  # fmt: skip

TRAIN = """
from crossattn3d import CSCA, UCANet, UNet3d
for net in (UNet3d(1, 3, channels=(4, 8)), UCANet(1, 3, channels=(4, 8)), UCANet(1, 3, channels=(4, 8), norm="group")):
    net(torch.rand(1, 1, 6, 10, 14)).sum().backward()
    with torch.inference_mode():
        net.eval()(torch.rand(1, 1, 6, 10, 14))
"""
#: Large enough for C++, and the same with autocast.
ATTEND = """
from crossattn3d import CSCA
for backend in ("auto", "torch", "reference"):
    u, e = torch.rand(2, 1, 5, 40, 50, 60, requires_grad=True).unbind()
    CSCA(5, backend=backend)(u, e).sum().backward()
    with torch.autocast("cpu"):
        CSCA(5, backend=backend)(u, e)
"""


def new_modules(code: str) -> set[str]:
    command = [sys.executable, "-c", NEW_MODULES, SOURCE, code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "code",
    ["import crossattn3d", "import crossattn3d as c\nc.dropin, c.export, c.folding, c.hub", TRAIN, ATTEND],
    ids=["the package", "all of its modules", "training and prediction", "attention"],
)
def test_nothing_heavy_comes_along(code: str) -> None:
    found = new_modules(code)
    assert "crossattn3d.unet" in found
    assert not [name for name in found if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY)]


@pytest.mark.parametrize("name", ["dropin", "export", "folding", "hub"])
def test_a_module_is_imported_once_it_is_named(name: str) -> None:
    found = new_modules(f"import crossattn3d\nassert '{name}' in dir(crossattn3d)")
    assert f"crossattn3d.{name}" not in found
    assert f"crossattn3d.{name}" in new_modules(f"import crossattn3d\ncrossattn3d.{name}")


def test_the_modules_are_attributes_of_the_package() -> None:
    assert crossattn3d.dropin.wrap_skips.__module__.startswith("crossattn3d.dropin.")
    assert {"dropin", "export", "folding", "functional", "hub", "UCANet"} <= set(dir(crossattn3d))
    with pytest.raises(AttributeError, match=r"^module 'crossattn3d' has no attribute 'dropout'$"):
        crossattn3d.dropout  # noqa: B018
