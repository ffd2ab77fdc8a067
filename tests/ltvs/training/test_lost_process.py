"""One of two processes is killed, or its loss is not finite: the other ends too and says why."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json
from ltvs.training.checkpoints import load_checkpoint
from ltvs.training.devices import lost_processes
from support import disturbed_training, faulty_readers
from support.processes import processes_of, slurm_tasks, wait_until_all_are_gone
from support.trained_runs import tiny_set
from support.training_process import results

WORDS = (
    "--stage 2 --epochs 3 --batch-size 2 --patch 8 24 24 --overlap 0 0 0 --channels 2 3 4 --workers 0 "
    "--validate-every 2 --learning-rate 0.01 --schedule cosine --save-every 0 --device cpu"
)
#: Two tasks on one machine take all its cores each, processes of one command a half: sums would be rounded differently.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ENDED = (
    r"error: another process of this training has ended \(.+\); if it gave no reason, it was killed, perhaps because "
    r"memory ran out; the same command resumes from the last checkpoint"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_set(tmp_path_factory.mktemp("data"))
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": ["a", "b"], "test": []})
    return made.folder


def words(data: Path, output: Path, *more: str) -> list[str]:
    return [disturbed_training.__file__, "--data", str(data), "--output", str(output), *WORDS.split(), *more]


def train(data: Path, output: Path, disturbed: str = "", launcher: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Train with two processes to the end, whichever; status, what was printed, what was said as an error."""
    environment = os.environ | ONE_THREAD | ({"DISTURBED": disturbed} if disturbed else {})
    command = [sys.executable, *launcher, *words(data, output, "--devices", "2")]
    both = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    # Reads until the last process that could write has ended.
    printed, said = both.communicate()
    wait_until_all_are_gone(both.pid)
    return both.returncode, printed, said


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    output = tmp_path_factory.mktemp("whole") / "run"
    status, _, said = train(data, output)
    assert status == 0, said
    return results(output)


def assert_goes_on(data: Path, output: Path, undisturbed: dict[str, object]) -> None:
    status, _, said = train(data, output)
    assert status == 0, said
    assert results(output) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_either_is_killed_and_the_other_says_so(
    data: Path, undisturbed: dict[str, object], tmp_path: Path, victim: int
) -> None:
    """Started as by SLURM, where neither is the other's child and each has a status of its own."""
    environment = {"DISTURBED": f"{victim} 3 kill", **ONE_THREAD}
    tasks = slurm_tasks([sys.executable, *words(data, tmp_path / "run", "--nodes", "2")], environment)
    said = [task.communicate()[1] for task in tasks]
    assert tasks[victim].returncode == -signal.SIGKILL
    assert tasks[1 - victim].returncode == 2
    assert re.fullmatch(ENDED, said[1 - victim].splitlines()[-1]), said
    assert "Traceback" not in said[1 - victim]
    state = load_checkpoint(tmp_path / "run" / "stage2" / "checkpoints")
    assert state is not None
    assert_goes_on(data, tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_one_that_the_command_itself_has_started(data: Path, undisturbed: dict[str, object], tmp_path: Path) -> None:
    status, _, said = train(data, tmp_path / "run", "1 3 kill")
    # 2, or killed by Fabric, which looks every few seconds whether all are there.
    assert status in (2, -signal.SIGKILL)
    assert re.search(ENDED, said), said
    assert "Traceback" not in said
    assert_goes_on(data, tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_under_torchrun(data: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    status, _, said = train(data, tmp_path / "run", "1 3 kill", launcher)
    assert status == 1
    assert re.search(ENDED, said), said


@pytest.mark.slow
def test_a_process_that_cannot_see_it_is_ended_with_a_word(tmp_path: Path) -> None:
    """It is at work on something else, or waits for the lost one on a GPU."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\n"
        "from ltvs.training.devices import start_processes\n"
        "if start_processes('cpu', 2, 1, '32').global_rank == 1:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(3600)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert re.fullmatch(ENDED, done.stderr.strip()), done.stderr
    assert "terminated with code -9" in done.stderr


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_stops_both_with_its_cases(
    data: Path, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    status, printed, said = train(data, tmp_path / "run", "1 3 poison")
    assert status == 2
    mine, other = (re.search(rf"^rank {rank} has (.+)$", printed, re.MULTILINE) for rank in (1, 0))
    assert mine is not None
    assert other is not None
    assert mine[1] != other[1], "or it could be anybody's"
    kept = tmp_path / "run" / "stage2" / "checkpoints"
    reason = (
        rf"error: the loss is nan at epoch \d, step \d on {mine[1]}; lower --learning-rate, in another --output; "
        rf"the last good checkpoint is kept in {re.escape(str(kept))}"
    )
    assert re.fullmatch(reason, said.splitlines()[-1]), said
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    state = load_checkpoint(kept)
    assert state is not None
    assert all(value.isfinite().all() for value in state["learner"]["net"].values())
    assert_goes_on(data, tmp_path / "run", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memory", r"memory ran out \(Unable to allocate 9 TiB\); give fewer --workers than 2, or a smaller --patch"),
        ("pickle", r"unexpected CannotBePickledError: 1 and 2 \(faults\.py, line \d+\)"),
        ("kill", r"a process that reads patches was lost, perhaps because memory ran out \(.+\); give fewer .+, or 0"),
        ("stop", r"the processes that read patches gave none for 20 seconds, and were ended; give fewer .+, or 0"),
    ],
)
def test_a_process_that_reads_patches(data: Path, tmp_path: Path, name: str, message: str) -> None:
    command = [*words(data, tmp_path / "run"), "--workers", "2"]
    environment = os.environ | ONE_THREAD | {"FAULT": name, "PATIENCE": "20"}
    faulty = [sys.executable, faulty_readers.__file__, *command[1:]]
    run = subprocess.Popen(faulty, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    said = run.communicate()[1]
    assert run.returncode == 2, said
    assert not processes_of(run.pid)
    assert re.fullmatch(f"error: {message}", said.splitlines()[-1]), said
    assert "Traceback" not in said
    assert subprocess.run([sys.executable, *command], env=os.environ | ONE_THREAD, check=False).returncode == 0


def test_other_errors_stay_what_they_are() -> None:
    found = r"another process of this training has ended \(Connection closed by peer \[127\.0\.0\.1\]:9\); if it"
    with pytest.raises(InputError, match=found), lost_processes():
        raise RuntimeError("[/build/gloo/transport/pair.cc:553] Connection closed by peer [127.0.0.1]:9. This is")
    with pytest.raises(InputError, match=r"has ended \(NCCL error\)"), lost_processes():
        raise torch.distributed.DistBackendError("NCCL error")
    with pytest.raises(RuntimeError, match="something else"), lost_processes():
        raise RuntimeError("something else")
