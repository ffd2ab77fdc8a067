"""Several processes train as one does with the same batch, however they are started."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import training_steps
from ltvs.files import write_json
from trained_runs import tiny_set

PYTHON = [sys.executable]
SCRIPT = training_steps.__file__


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_set(tmp_path_factory.mktemp("data"))
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": [], "test": []})
    return made.folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return steps(data, tmp_path_factory.mktemp("alone") / "steps.safetensors", PYTHON, devices=1)


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
    of_weight = training_steps.STEPS * 0.01 / 1e-8 * of_gradient
    for name, value in expected.items():
        tolerance = of_weight if name.startswith("weight") else of_gradient
        assert (found[name] - value).abs().max() <= tolerance, name
    # Gradients that are summed and not averaged, or not shared at all, would be off by about g.
    assert of_gradient < 1e-7 * g
    assert g > 0


def test_two_processes_are_one_with_the_same_batch(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_same_training(steps(data, tmp_path / "steps.safetensors", PYTHON, devices=2), alone)


def test_a_batch_in_parts_is_the_batch(data: Path, alone: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_same_training(steps(data, tmp_path / "steps.safetensors", PYTHON, devices=1, accumulate=4), alone)
