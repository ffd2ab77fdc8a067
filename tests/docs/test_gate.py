"""`make docs` fails where something in the documentation is broken, and prints a few lines where nothing is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import ROOT

#: What breaks: a file, a text in it, what takes its place, and what the gate has to say about it.
LINK = ("docs/index.md", "(label/cts.md)", "(no-such-page.md)", "no-such-page.md")
OTHERS = {
    "anchor": ("docs/nets/monai.md", "(../train/training.md)", "(../train/training.md#no-such)", "#no-such"),
    "parameter": ("src/crossattn3d/unet.py", "        skip: factory", "        skips: factory", "'skips'"),
    "two parameters in a row": (
        "src/crossattn3d/folding.py",
        "    Args:\n        net:",
        "    Args:\n        net, other:",
        "'net, other'",
    ),
    "option of another function": ("src/crossattn3d/ucanet.py", "        norm: norm", "        norms: norm", "'norms'"),
    "anchor of the same page": ("docs/index.md", "\n## ", "\n[here](#no-such-heading)\n\n## ", "#no-such-heading"),
    "picture": ("docs/index.md", "(images/demo.png)", "(images/no-such.png)", "no-such.png"),
    "absolute link": ("docs/index.md", "(label/cts.md)", "(/label/cts.md)", "/label/cts.md"),
    "link without its ending": ("docs/index.md", "(label/cts.md)", "(label/cts/)", "label/cts/"),
    "page in the navigation": ("mkdocs.yml", "label/cts.md", "no-such-page.md", "no-such-page.md"),
    "page in no navigation": ("mkdocs.yml", "      - Label CTs: label/cts.md\n", "", "label/cts.md"),
    "name in a reference page": (
        "docs/reference/folding.md",
        "::: crossattn3d.folding.fold_batch_norm",
        "::: crossattn3d.folding.no_such_function",
        "no_such_function",
    ),
    "reference to a name": (
        "src/crossattn3d/folding.py",
        "    Args:",
        "    See [this][crossattn3d.no_such].\n\n    Args:",
        "crossattn3d.no_such",
    ),
    "included file": ("docs/changelog.md", "CHANGELOG.md", "NO-SUCH.md", "NO-SUCH.md"),
    "option of the site": ("mkdocs.yml", "site_name:", "no_such_option: 1\nsite_name:", "no_such_option"),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that the documentation is made of."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: pip install '.[docs]'")
    for name in ("docs", "src", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "Makefile", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make_docs(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run `make docs` in a tree, with the environment that runs the tests in place of one of its own."""
    installed = ["--old-file", ".venv/dev-installed", f"BIN={Path(sys.executable).parent}"]
    # Nothing of the `make test` that may run these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", *installed, "docs"]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def check_that_it_fails(tree: Path, file: str, old: str, new: str, said: str) -> None:
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = make_docs(tree)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


@pytest.mark.slow  # `make test` builds the same tree
def test_the_tree_as_it_is_passes_with_few_lines(tree: Path) -> None:
    done = make_docs(tree)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert len(output.splitlines()) <= 5
    assert "WARNING -" not in output


def test_it_fails_on_a_broken_link(tree: Path) -> None:
    check_that_it_fails(tree, *LINK)


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS.values(), ids=OTHERS)
def test_it_fails_on_whatever_else_is_broken(tree: Path, broken: tuple[str, str, str, str]) -> None:
    check_that_it_fails(tree, *broken)
