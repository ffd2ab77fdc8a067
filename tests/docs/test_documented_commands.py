"""Every command of README and docs runs as shown, in a small world, or another test runs what it does.

Cohorts, data sets, runs and files exist under the names that the pages use; the output of the command does not.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.commands_elsewhere import ELSEWHERE, Elsewhere
from support.documented_commands import Command, commands_in, documented
from support.pages import ROOT
from support.shared_folders import shared_folder
from support.small_commands import SMALL, in_small, target_of


def elsewhere(command: Command) -> list[Elsewhere]:
    return [row for row in ELSEWHERE if re.fullmatch(row.pattern, command.line)]


#: Without those that are short for others.
COMMANDS = [command for command in documented() if not any(map(command.is_in, documented()))]
RUN = [command for command in COMMANDS if not elsewhere(command)]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_run_or_named(command: Command) -> None:
    rows = len(elsewhere(command))
    assert rows <= 1, f"`{command}` is in {rows} rows of ELSEWHERE (tests/support/commands_elsewhere.py); leave one"
    assert rows or target_of(command.line) in SMALL, (
        f"no test runs `{command}`: say in SMALL (tests/support/small_commands.py) how it is run in small, or name the "
        "test that runs what it does in ELSEWHERE (tests/support/commands_elsewhere.py)"
    )


@pytest.mark.parametrize("row", ELSEWHERE, ids=lambda row: row.pattern)
def test_a_test_that_is_named_is_there(row: Elsewhere) -> None:
    assert any(row in elsewhere(command) for command in COMMANDS), "no page has such a command; remove the row"
    for test in row.tests:
        file, function = test.split("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        assert function in names, f"{file} has no {function}"
        assert row.holds in text, f"{file} has no {row.holds}"


def test_a_short_form_is_in_a_longer_one() -> None:
    longer = Command("python examples/b.py --a 1 --b 2")
    for words, expected in {
        "--a": True,
        "--a 1": True,
        "--b 2 --a": True,
        "--b 1": False,
        "--a 1 --c": False,
    }.items():
        assert Command(f"python examples/b.py {words}", is_short=True).is_in(longer) is expected
    assert not Command("python examples/b.py --a 1").is_in(longer)
    assert not Command("python examples/c.py --a 1", is_short=True).is_in(longer)
    assert Command("python -m b", is_short=True).is_in(Command("python -m b --a 1"))
    assert not Command("python -m b", is_short=True).is_in(Command("python -m b.c --a 1"))


def test_commands_are_found() -> None:
    page = (
        "Text\n\n    ```sh\n    # a comment\n    x=1\n    cd there\n    make demo  # a comment\n    cp a \\\n      $x\n"
        "    export Y=2\n    ```\n\n```text\npython a.py\na folder\n```\n\n```python\nmake = 1\n```\n"
    )
    inline = ["make test", "b.py --c 2", "b.py", "--d", "python = 2", "X=1 python -m e", "import f"]
    assert list(map(str, commands_in(page, inline))) == [
        "cd there; make demo",
        "x=1; cd there; cp a $x",
        "export Y=2",
        "python a.py",
        "make test",
        "python examples/b.py --c 2",
        "X=1 python -m e",
    ]
    assert len(COMMANDS) > 80


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, coarse_maps: Path) -> Path:
    """A folder with small versions of everything that the pages name."""
    from support.small_world import make_world

    return shared_folder(tmp_path_factory, "world", lambda folder: make_world(folder, coarse_maps))


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN, ids=str)
def test_it_runs(command: Command, world: Path, tmp_path: Path) -> None:
    from support.small_world import put_examples, put_repository

    target, line = target_of(command.line), command.line
    assert target is not None
    place = tmp_path / "world"
    if any("git worktree" in line for line in command.before):
        clone(place, command)
    shutil.copytree(world, place, dirs_exist_ok=True)
    put_examples(place)
    if SMALL[target].in_repository:
        put_repository(place)
    written = [] if target == "monai.bundle" else written_by(line)
    for path in written:
        shutil.rmtree(place / path) if (place / path).is_dir() else (place / path).unlink(missing_ok=True)

    in_bundle = target == "monai.bundle" and not command.before
    done = subprocess.run(
        ["bash", "-ec", "\n".join([*command.before, in_small(line)])],
        cwd=place / "bundle" if in_bundle else place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    missed = SMALL[target].may_miss and done.returncode == 1 and "missed" in said and "Traceback" not in said
    assert done.returncode == 0 or missed, said[-3000:]
    assert [path for path in written if not (place / path).exists()] == []
    if SMALL[target].in_repository:
        assert changed_pages(place, target) == []


def written_by(line: str) -> list[str]:
    """The files and folders that a line writes; an estimate writes nothing."""
    words = shlex.split(line)
    options = ["--output", "--json", "--export-nnunet", *(["--runs"] if "benchmarks.accuracy " in line else [])]
    return [] if "--estimate" in words else [words[words.index(name) + 1] for name in options if name in words]


def clone(place: Path, command: Command) -> None:
    """Make a clone in which the command finds its commit."""
    (commit,) = re.findall(r"git worktree add \S+ (\w+)", str(command))
    if subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"the commit {commit} is not there: no clone, or one without history")
    subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(place)], check=True)


def environment() -> dict[str, str]:
    """One in which `python` and `torchrun` are those of the tests, and find what a clone has."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = os.pathsep.join(str(ROOT / name) for name in ("src", "tests", "."))
    return os.environ | {"PATH": path, "PYTHONPATH": found, "CUDA_VISIBLE_DEVICES": ""}


def changed_pages(place: Path, target: str) -> list[str]:
    """The pages that a command has changed; figures that it measures may differ."""

    def shown(page: Path) -> str:
        text = page.read_text(encoding="utf-8")
        return re.sub(r"\d+(\.\d+)?", "0", text) if SMALL[target].measures else text

    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [page.relative_to(ROOT) for page in pages]
    return [str(name) for name in names if shown(place / name) != shown(ROOT / name)]


def test_the_place_of_nnunets_trainers() -> None:
    """The world only has a stand-in of nnU-Net."""
    if (spec := find_spec("nnunetv2")) is None:
        pytest.skip("nnU-Net is not installed: pip install '.[nnunet]'")
    assert (Path(str(spec.origin)).parent / "training" / "nnUNetTrainer").is_dir()
