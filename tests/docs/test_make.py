"""`make` names a Python that it cannot use, and takes a folder with a space in its name."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.pages import ROOT


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    # Nothing of the `make test` that may run these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = make(tmp_path, "lint", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "no-such-python is older or not there; use make PYTHON=python3.12" in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("target", ["demo", "demo-train", "networks"])
def test_a_folder_may_have_a_space_in_its_name(tmp_path: Path, target: str) -> None:
    assert '--output "my runs"' in make(tmp_path, "--dry-run", target, "RUN=my runs").stdout


@pytest.mark.parametrize(
    ("target", "runs"),
    {
        "demo": ["examples/demo.py"],
        "demo-train": ["examples/demo_train.py"],
        "networks": ["examples/make_networks.py"],
        "test": ["ruff check .", "ruff format --check .", "mypy", "pytest -q -n 2", "mkdocs build"],
        "test-all": ["ruff check .", "ruff format --check .", "mypy", 'worksteal -m ""', "mkdocs build"],
        "docs": ["mkdocs build --strict"],
    }.items(),
)
def test_a_target_runs_what_it_should(tmp_path: Path, target: str, runs: list[str]) -> None:
    shown = make(tmp_path, "--dry-run", target).stdout
    assert [command for command in runs if command not in shown] == []
