"""Structure of the package: imports run one way, and only to a few other packages."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossattn3d

ROOT = Path(crossattn3d.__file__).parent

#: What each part may import from the package. A new part has to be given its place here.
MAY_IMPORT = {
    "_checks": {"_checks", "kernels"},
    "kernels": {"kernels"},
    "functional": {"kernels", "_checks"},
    "_layers": {"_layers", "functional", "kernels", "_checks"},
    "attention": {"functional", "_layers", "_checks"},
    "_recompute": {"kernels"},
    "unet": {"_layers", "_recompute", "_checks", "kernels"},
    "folding": {"_checks", "_layers", "unet"},
    "ucanet": {"attention", "functional", "_layers", "unet", "_checks"},
    "regional": {"regional", "attention", "ucanet", "unet", "_layers", "kernels"},
    "_extras": set(),
    "_card": set(),
    "export": {"_checks", "_extras", "unet"},
    "_version": set(),
    "hub": {"_card", "_extras", "ucanet", "unet", "_version"},
    "dropin": {"dropin", "functional", "_checks", "ucanet"},
    "build": {"kernels"},
    "__init__": {"attention", "functional", "ucanet", "unet", "_version", "dropin", "export", "folding", "hub"},
}
OUTSIDE = {"torch", "einops", "numpy", "jaxtyping"}
#: Most modules of a folder, `__init__` aside, as in the pipeline.
MODULES = 14


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(source: str) -> Iterator[str]:
    """Every module imported anywhere in the source, inside functions too; names imported from the package itself
    count as its modules where such exist."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this test"
            if node.module == "crossattn3d":
                yield from (f"crossattn3d.{alias.name}" for alias in node.names)
            else:
                yield node.module


FILES = sorted(ROOT.rglob("*.py"))


def test_the_files_are_found():
    assert {part_of(path) for path in FILES} == set(MAY_IMPORT)
    assert len(list(imports((ROOT / "ucanet.py").read_text()))) > 3
    assert list(imports("def f():\n    from crossattn3d import unet, CSCA")) == ["crossattn3d.unet", "crossattn3d.CSCA"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    inside = {name.split(".")[1] for name in imports(path.read_text()) if name.startswith("crossattn3d.")}
    assert inside <= MAY_IMPORT[part_of(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_little_from_outside(path):
    outside = {name.split(".")[0] for name in imports(path.read_text())} - {"crossattn3d"}
    own = {"triton"} if path.parent.name == "triton" else set()
    assert outside - set(sys.stdlib_module_names) <= OUTSIDE | own


def test_triton_is_imported_when_it_runs_and_not_before():
    """Triton is missing on many machines: its modules are imported inside functions only."""
    for path in FILES:
        if path.parent.name != "triton":
            outermost = [x for x in ast.parse(path.read_text()).body if isinstance(x, (ast.Import, ast.ImportFrom))]
            names = [name for node in outermost for name in imports(ast.unparse(node))]
            names += [f"{node.module}.{a.name}" for node in outermost if hasattr(node, "module") for a in node.names]
            assert not [name for name in names if "triton" in name], path


def test_the_order_has_no_cycles():
    placed: set[str] = set()
    while len(placed) < len(MAY_IMPORT):
        ready = {part for part, needs in MAY_IMPORT.items() if needs - {part} <= placed} - placed
        assert ready, f"a cycle among {set(MAY_IMPORT) - placed}"
        placed |= ready


def test_the_reference_stands_alone():
    """Everything in kernels but the specification and its parameters could be deleted."""
    own = {name for name in imports((ROOT / "kernels" / "reference.py").read_text()) if name.startswith("crossattn3d")}
    assert own == {"crossattn3d.kernels.parameters"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda p: p.name)
def test_no_folder_is_full(folder):
    assert len(list(folder.glob("*.py"))) - 1 <= MODULES


def test_one_version():
    assert f'version = "{crossattn3d.__version__}"' in (ROOT.parents[1] / "pyproject.toml").read_text()


def test_public_names():
    assert (ROOT / "py.typed").exists()
    for name in crossattn3d.__all__:
        assert getattr(crossattn3d, name) is not None
    assert {"CSCA", "ChannelCrossAttention3d", "SliceCrossAttention3d", "UCANet", "UNet3d", "functional"} <= set(
        crossattn3d.__all__
    )
