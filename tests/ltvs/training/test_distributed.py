"""Several processes, a batch in parts and compiled code train as one process does, however they are started."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train_ltvs
from ltvs.dataset.layout import PreparedSet
from ltvs.model.saved import load_unfolded
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.training.devices import is_first_process, start_processes
from ltvs.training.stage_training import StageTraining
from ltvs.training.validation import mean_dice, validate
from support import data_parallel_steps, disturbed_training
from support.processes import slurm_tasks, wait_until_all_are_gone
from support.trained_runs import QUICK, tiny_set, tiny_settings

PYTHON = [sys.executable]
SCRIPT = data_parallel_steps.__file__


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_set(tmp_path_factory.mktemp("data"))
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": [], "test": []})
    return made.folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return steps_here(data, tmp_path_factory.mktemp("alone") / "steps.safetensors")


def steps_here(data: Path, output: Path, **settings: object) -> dict[str, torch.Tensor]:
    """Take the steps in this process, with one device."""
    with redirect_stdout(StringIO()) as printed:
        data_parallel_steps.train(data, output, devices=1, **settings)
    assert printed.getvalue() == "", "nothing is said unasked"
    return load_file(output)


def steps(data: Path, output: Path, command: list[str], environment: dict[str, str] | None = None, **settings: object):
    words = [*command, SCRIPT, str(data), str(output), json.dumps(settings)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "nothing is said unasked"
    return load_file(output)


def assert_same_training(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal but for the order in which the same terms are added.

    A gradient is a sum over the batch of at most n = 4 patches x 8 x 16 x 16 voxels x 16 channels x 27 taps = 3.5e6
    products, and however they are added, that is off by n u times the sum of their sizes, u = 1.1e-16; sizes are taken
    to be up to 100 times the largest entry of all gradients, g. A step of Adam changes by up to lr / eps = 0.01 / 1e-8
    times the change of the gradient, and each of the steps adds its own.
    """
    assert found.keys() == expected.keys()
    gradients = [value for name, value in expected.items() if name.startswith("gradient")]
    g = max(float(value.abs().max()) for value in gradients)
    of_gradient = 3.5e6 * 1.1e-16 * 100 * g
    of_weight = data_parallel_steps.STEPS * 0.01 / 1e-8 * of_gradient
    for name, value in expected.items():
        tolerance = of_weight if name.startswith("weight") else of_gradient
        assert (found[name] - value).abs().max() <= tolerance, name
    # Gradients that are summed and not averaged, or not shared at all, would be off by about g.
    assert of_gradient < 1e-7 * g
    assert g > 0


def test_two_processes_are_one_with_the_same_batch(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_same_training(steps(data, tmp_path / "steps.safetensors", PYTHON, devices=2), alone)


@pytest.mark.slow
def test_two_processes_clip_and_average_as_one(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    changes = {"clip_norm": 1e-3, "ema": 0.9}
    expected = steps_here(data, tmp_path / "alone.safetensors", **changes)
    assert_same_training(steps(data, tmp_path / "steps.safetensors", PYTHON, devices=2, **changes), expected)
    last, kept = expected["weight head.weight"], expected["weight head.weight, kept"]
    assert (last - alone["weight head.weight"]).abs().max() > 1e-5, "gradients were clipped"
    assert (last - kept).abs().max() > 1e-5, "weights were averaged"


def test_a_batch_in_parts_is_the_batch(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_same_training(steps_here(data, tmp_path / "steps.safetensors", accumulate=4), alone)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler")
@pytest.mark.parametrize("devices", [1, 2])
def test_compiled_code_takes_the_same_steps(
    data: Path, alone: dict[str, torch.Tensor], tmp_path: Path, devices: int
) -> None:
    found = steps(data, tmp_path / "steps.safetensors", PYTHON, devices=devices, compile=True)
    assert_same_training(found, alone)
    assert any(not torch.equal(found[name], value) for name, value in alone.items()), "this is other code"


@pytest.mark.slow
def test_torchrun(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    command = [*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    assert_same_training(steps(data, tmp_path / "steps.safetensors", command, devices=2), alone)


@pytest.mark.slow
def test_slurm(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    output = tmp_path / "steps.safetensors"
    words = [*PYTHON, SCRIPT, str(data), str(output), json.dumps({"devices": 1, "nodes": 2})]
    tasks = slurm_tasks(words)
    said = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert_same_training(load_file(output), alone)


def quick(data: Path, output: Path) -> list[str]:
    """The command that trains stage 2 with the settings `QUICK`."""
    flags = [f"--{name.replace('_', '-')}" for name in QUICK]
    values = [map(str, value if isinstance(value, tuple) else (value,)) for value in QUICK.values()]
    words = [word for flag, value in zip(flags, values, strict=True) for word in (flag, *value)]
    return [*PYTHON, train_ltvs.__file__, "--data", str(data), "--output", str(output), *words, "--stage", "2"]


@pytest.mark.slow
def test_sigterm_to_the_first_of_two_processes_saves_and_ends_both(data: Path, tmp_path: Path) -> None:
    words = [*quick(data, tmp_path / "run"), "--save-every", "1000", "--epochs", "3"]
    command = [*PYTHON, disturbed_training.__file__, *words[2:]]
    both = subprocess.Popen(
        [*command, "--devices", "2"],
        env={**os.environ, "DISTURBED": "0 1 term"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, said = both.communicate()
    assert both.returncode == 143, said
    assert re.search(r"saved at epoch 1, step 1 of \d+; the same command resumes from there", said)
    assert said.splitlines()[-1] == "terminated"
    assert "Traceback" not in said
    wait_until_all_are_gone(both.pid)
    assert subprocess.run(command, check=False).returncode == 0, "goes on with one process"
    assert len((tmp_path / "run" / "stage2" / "curves.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_two_processes_keep_the_average_that_they_have_validated(data: Path, tmp_path: Path) -> None:
    """Each has its own batch statistics; those of the first are kept, so all have to validate with them."""
    write_json(data / "two.json", {"train": ["a", "b"], "validation": ["a", "b"], "test": []})
    words = ["--ema", "0.5", "--split", "two.json", "--epochs", "2", "--validate-every", "2"]
    done = subprocess.run([*quick(data, tmp_path), *words, "--devices", "2"], stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    settings = tiny_settings(data, tmp_path)
    task = StageTraining(PreparedSet(data, Path("two.json")), 2, settings, start_processes("cpu", 1, 1, "32"))
    kept = mean_dice(validate(load_unfolded(tmp_path, 2)[0], task))
    assert read_json(tmp_path / "stage2" / "result.json")["dice"] == pytest.approx(kept, abs=1e-6)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
    ],
)
def test_the_first_process_knows_it_before_the_others_are_there(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool
) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


def test_another_number_of_processes_than_slurm_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NTASKS": "4", "NTASKS_PER_NODE": "4", "NNODES": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_NODEID", "0")
    with pytest.raises(
        InputError, match=r"--devices 2 --nodes 1: do not fit how this was started; .*ntasks-per-node=4"
    ):
        start_processes("cpu", 2, 1, "32")
