"""Preparation that is killed, interrupted or started twice, in real processes: nothing half-done, nothing lost."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import prepare_ltvs
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.provenance import read_records
from ltvs.runtime.errors import InputError
from ltvs.runtime.locks import locked
from prepare_ltvs import PrepareSettings, main
from support.processes import wait_until_all_are_gone
from support.tiny_cases import tiny_case
from support.volume_file_layouts import write_own

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

CASES = 8
#: A script and not a module to import: it changes what preparation does.
INTERRUPTED = str(Path(__file__).parents[2] / "support" / "interrupted_preparation.py")
GRIDS = ("--pixels", "96", "--slice-spacing", "0.5", "--liver-pixels", "96", "--liver-slice-spacing", "0.5")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for k in range(CASES):
        write_own(folder / f"case {k}", tiny_case(f"case {k}"))
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The result of an undisturbed run, and the seconds that it works."""
    output = tmp_path_factory.mktemp("whole") / "out"
    with started(source, output) as run:
        wait_until_at_work(run, output)
        began = time.monotonic()
        assert run.wait() == 0
    return contents(output), time.monotonic() - began


@contextmanager
def started(
    source: Path, output: Path, script: str = prepare_ltvs.__file__, **variables: str
) -> "Iterator[subprocess.Popen[str]]":
    words = [sys.executable, script, "--source", "ltvs", "--input", source, "--output", output]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    run = subprocess.Popen(
        [*map(str, words), *GRIDS, "--workers", "2"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


def wait_until_at_work(run: "subprocess.Popen[str]", output: Path) -> None:
    while not (output / ".lock").exists() and run.poll() is None:
        time.sleep(0.01)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_nothing_is_half_done(output: Path, whole: dict[str, bytes]) -> None:
    """A case that passes for whole is what an undisturbed run makes; a data set is complete."""
    for record in read_records(output).values():
        for file in record.files:
            assert (output / file).read_bytes() == whole[file]
    if (output / "dataset.json").exists():
        assert len(PreparedSet(output).cases) == CASES


@pytest.mark.parametrize(
    ("seed", "times"), [(0, 1), *(pytest.param(seed, 3, marks=pytest.mark.slow) for seed in range(1, 8))]
)
def test_killed_and_then_left_alone(
    source: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path, seed: int, times: int
) -> None:
    whole, seconds = undisturbed
    output, rng = tmp_path / "out ä", random.Random(seed)
    for _ in range(times):
        with started(source, output) as run:
            wait_until_at_work(run, output)
            time.sleep(rng.uniform(0.2, 1) * seconds)
            run.kill()
            run.wait()
            wait_until_all_are_gone(run.pid)
        assert_nothing_is_half_done(output, whole)
    with started(source, output) as run:
        _, said = run.communicate()
        assert run.returncode == 0, said
    assert contents(output) == whole


@pytest.mark.parametrize(
    ("how", "status", "word"),
    [("INT", 130, "interrupted"), pytest.param("TERM", 143, "terminated", marks=pytest.mark.slow)],
)
def test_interrupted(
    source: Path, undisturbed: tuple[dict[str, bytes], float], tmp_path: Path, how: str, status: int, word: str
) -> None:
    """Ctrl-C goes to every process of a terminal, SIGTERM to the one that was started."""
    whole, _ = undisturbed
    output = tmp_path / "out"
    with started(source, output, INTERRUPTED, INTERRUPT=how, MARK=str(tmp_path / "mark")) as run:
        said = run.communicate()[1]
        wait_until_all_are_gone(run.pid)
    assert run.returncode == status
    assert said.splitlines()[-1] == word
    assert "Traceback" not in said
    assert not (output / "dataset.json").exists()
    assert not [path.name for path in output.glob(".*")], "what was begun is removed"
    assert_nothing_is_half_done(output, whole)


def test_a_second_run_into_one_folder_is_refused(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with locked(output), pytest.raises(InputError, match=r"out: another process is at work here"):
        main(PrepareSettings("ltvs", output, source))
    assert not output.exists()
