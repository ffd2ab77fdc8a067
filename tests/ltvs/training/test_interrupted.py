"""Training that is killed, interrupted or started twice, in real processes, ends as if it had not been."""

import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.files import write_json
from ltvs.runtime.locks import locked
from ltvs.training.checkpoints import load_checkpoint
from support.processes import wait_until_all_are_gone
from support.trained_runs import tiny_set
from support.training_process import calls, results, run_to_its_end, said, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills processes")

WORDS = (
    "--stage 2 --epochs 3 --batch-size 2 --patch 8 24 24 --overlap 0 0 0 --channels 2 3 4 --workers 1 "
    "--validate-every 2 --learning-rate 0.01 --schedule cosine --save-every 0 --device cpu"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    made = tiny_set(tmp_path_factory.mktemp("data"))
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": ["a", "b"], "test": []})
    return PreparedSet(made.folder)


def begin(data: PreparedSet, output: Path, kill_at: int = 0, words: str = WORDS, interrupt: int = 0) -> BaseProcess:
    return start(data.folder, output, words, kill_at, interrupt=interrupt)


def finish(data: PreparedSet, output: Path, words: str = WORDS) -> None:
    run_to_its_end(data.folder, output, words)


@dataclass
class Undisturbed:
    """The result of an undisturbed run, its duration, and the number of system calls in which it could be killed."""

    results: dict[str, object]
    seconds: float
    calls: int


@pytest.fixture(scope="module")
def undisturbed(data: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    output = tmp_path_factory.mktemp("whole") / "run"
    finish(data, output)
    began = time.monotonic()
    other = output.with_name("again")
    finish(data, other)
    seconds = time.monotonic() - began
    assert results(output) == results(other), "without which all that follows would tell nothing"
    return Undisturbed(results(output), seconds, calls(other))


def assert_can_go_on(output: Path) -> None:
    """Whatever the moment, what is there is whole; a warning would be an error."""
    folder = output / "stage2" / "checkpoints"
    if folder.exists() and any(folder.glob("*.ckpt")):
        assert load_checkpoint(folder) is not None


@pytest.mark.slow
def test_a_network_with_dropout_drops_the_same_after_a_kill(data: PreparedSet, tmp_path: Path) -> None:
    words = (
        "--stage 2 --network vnet --epochs 2 --batch-size 2 --patch 8 24 24 --overlap 0 0 0 --workers 0 --device cpu "
    )
    words += "--validate-every 1 --save-every 60"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(data, whole, words)
    process = begin(data, killed, kill_at=calls(whole) // 2, words=words)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    finish(data, killed, words)
    assert "resumes" in (killed / "stage2" / "log.txt").read_text()
    assert results(killed) == results(whole)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 23))]
)  # fmt: skip
def test_killed_twice_and_then_left_alone(
    data: PreparedSet, undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    """Once at any moment, once within the write of a checkpoint (or of weights, curves and so on)."""
    rng = random.Random(seed)
    output = tmp_path / "run ä"
    process = begin(data, output)
    time.sleep(rng.uniform(0, undisturbed.seconds))
    process.kill()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)
    assert_can_go_on(output)
    process = begin(data, output, kill_at=rng.randint(1, undisturbed.calls))
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0), said(output)
    assert_can_go_on(output)
    finish(data, output)
    assert results(output) == undisturbed.results


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_sigterm_save_and_say_so(
    data: PreparedSet, undisturbed: Undisturbed, tmp_path: Path, number: int, status: int, word: str
) -> None:
    """Both to every process of the group, as a terminal and a cluster send them."""
    output = tmp_path / "run"
    words = WORDS.replace("--save-every 0", "--save-every 1000")
    process = begin(data, output, words=words, interrupt=number)
    process.join()
    assert process.exitcode == status, said(output)
    assert said(output).splitlines()[-1] == word
    assert "; the same command resumes from there" in said(output)
    assert "Traceback" not in said(output)
    state = load_checkpoint(output / "stage2" / "checkpoints")
    assert (state["position"]["epoch"], state["position"]["step"]) == (1, 1), "what was done is kept"
    finish(data, output)
    assert results(output) == undisturbed.results


def test_a_torn_checkpoint_costs_what_came_after_the_one_before(
    data: PreparedSet, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = begin(data, output, kill_at=undisturbed.calls // 2)
    process.join()
    wait_until_all_are_gone(process.pid)
    last = output / "stage2" / "checkpoints" / "last.ckpt"
    os.truncate(last, 1000)
    finish(data, output)
    assert "warning: " in said(output)
    assert "last.ckpt: is torn or damaged (1000 bytes" in said(output)
    assert results(output) == undisturbed.results


def test_an_average_of_the_weights_goes_on_as_well(data: PreparedSet, undisturbed: Undisturbed, tmp_path: Path) -> None:
    words = f"{WORDS} --ema 0.9 --clip-norm 0.01"
    whole, output = tmp_path / "whole", tmp_path / "run"
    finish(data, whole, words)
    assert results(whole) != undisturbed.results
    process = begin(data, output, calls(whole) // 2, words)
    process.join()
    assert process.exitcode == -signal.SIGKILL, said(output)
    state = load_checkpoint(output / "stage2" / "checkpoints")
    assert state is not None
    net, average = state["learner"]["net"], state["learner"]["average"]
    assert average["n_averaged"] > 1
    assert not net["head.weight"].equal(average["module.head.weight"])
    finish(data, output, words)
    assert results(output) == results(whole)


def test_a_stage_that_is_being_trained_or_was_trained_otherwise(data: PreparedSet, tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = begin(data, output, kill_at=30)
    process.join()
    with locked(output / "stage2"):
        process = begin(data, output)
        process.join()
    assert process.exitcode == 2
    assert "stage2: another process is at work here; wait until it is done" in said(output)
    process = begin(data, output, words=WORDS.replace("0.01", "0.02").replace("--workers 1", "--workers 0"))
    process.join()
    assert process.exitcode == 2
    reason = "stage2: holds a training with other settings (--learning-rate was 0.01, is 0.02); give the same to resume"
    assert reason in said(output).splitlines()[-1]
