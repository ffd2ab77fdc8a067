"""Structure of the pipeline: imports run one way, and every folder says what it holds and may import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

import ltvs

ROOT = Path(ltvs.__file__).parent
EXAMPLES = ROOT.parent

#: Folders of `ltvs` that each folder may import, besides itself. A new folder has to be given its place here.
MAY_IMPORT = {
    "runtime": [],
    "volume": ["runtime"],
    "anatomy": ["volume", "runtime"],
    "phantom": ["anatomy", "volume", "runtime"],
    "model": ["volume", "runtime"],
    "measurement": ["volume", "runtime"],
    "delivery": ["volume", "runtime"],
    "page": ["delivery", "measurement", "volume", "runtime"],
    "evaluation": ["measurement", "volume", "runtime"],
    "sources": ["phantom", "model", "volume", "runtime"],
    "dataset": ["sources", "phantom", "model", "evaluation", "volume", "runtime"],
    "training": ["dataset", "sources", "phantom", "model", "evaluation", "volume", "runtime"],
    "report": ["training", "dataset", "sources", "phantom", "model", "evaluation", "volume", "runtime"],
    "bundle": ["training", "dataset", "sources", "phantom", "model", "evaluation", "volume", "runtime"],
    "prediction": ["page", "delivery", "measurement", "report", "model", "sources", "volume", "runtime"],
}
#: Most modules of a folder, `__init__` aside.
MODULES = 14
LINES = 350
ENDINGS = ("", "s", "d", "e", "ed", "er", "ing", "ion", "ation", "or")

FILES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def imported(source: str) -> Iterator[str]:
    """Every folder of `ltvs` that is imported anywhere in the source, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would escape this test"
            names = [f"ltvs.{alias.name}" for alias in node.names] if node.module == "ltvs" else [node.module or ""]
        yield from (name.split(".")[1] for name in names if name.startswith("ltvs."))


def differ_by_ending(a: str, b: str) -> bool:
    same = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return same >= 4 and {a[same:], b[same:]} <= set(ENDINGS)


def test_the_files_are_found() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == {*MAY_IMPORT, "__init__.py"}
    assert list(imported("def f():\n    from ltvs import model\n    import ltvs.volume.grids")) == ["model", "volume"]
    assert differ_by_ending("prepare", "prepared")
    assert differ_by_ending("bundle", "bundled")
    assert differ_by_ending("preparing", "preparation")
    assert not differ_by_ending("model", "training")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    # The package's own `__init__` prints errors by `runtime`.
    assert {*imported(path.read_text())} - {folder} <= {*MAY_IMPORT.get(folder, ["runtime"])}


def test_the_order_has_no_cycles() -> None:
    placed: set[str] = set()
    while len(placed) < len(MAY_IMPORT):
        ready = {folder for folder, needs in MAY_IMPORT.items() if {*needs} <= placed} - placed
        assert ready, f"a cycle among {set(MAY_IMPORT) - placed}"
        placed |= ready


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_says_what_it_holds_and_imports(folder: str) -> None:
    text = " ".join((ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text())) or "").split())
    what, _, said = text.partition(". May import ")
    assert what
    assert re.findall(r"`(\w+)`", said.partition(".")[0]) == (MAY_IMPORT[folder] or ["ltvs"])


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_no_folder_is_crowded(folder: str) -> None:
    assert len(list((ROOT / folder).glob("*.py"))) - 1 <= MODULES


@pytest.mark.parametrize("path", [*FILES, *sorted(EXAMPLES.glob("*.py"))], ids=name_of)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


def test_no_two_names_differ_by_an_ending() -> None:
    names = {path.stem for path in FILES if path.stem != "__init__"} | {*MAY_IMPORT}
    alike = [pair for pair in combinations(sorted(names), 2) if differ_by_ending(*pair)]
    assert not alike


def test_networks_can_be_trained_without_simpleitk() -> None:
    """A study of networks on arrays needs no library that reads CTs."""
    modules = ["model.stages", "model.networks", "model.computing", "model.inference", "training.settings",
               "training.step", "training.augmentation", "training.checkpoints", "training.devices"]  # fmt: skip
    code = "import sys; sys.modules['SimpleITK'] = None\n" + "\n".join(f"import ltvs.{name}" for name in modules)
    path = [str(EXAMPLES), *sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], check=True)
