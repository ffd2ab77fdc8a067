"""Memory that runs out is one line with the settings to change; other errors stay what they are."""

from pathlib import Path

import pytest
import torch

from ltvs.runtime.errors import InputError
from ltvs.training.devices import memory_advice, memory_errors, start_processes
from support.trained_runs import tiny_settings


def test_pytorch_cannot_allocate(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"--device cpu: out of memory \(.*allocate.*\); try --accumulate 2 "),
        memory_errors(tiny_settings(tmp_path, tmp_path)),
    ):
        torch.empty(1 << 55)


def test_a_gpu_that_is_full(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out of memory"), memory_errors(tiny_settings(tmp_path, tmp_path)):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def test_another_error_of_pytorch(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), memory_errors(tiny_settings(tmp_path, tmp_path)):
        torch.ones(2) + torch.ones(3)


def test_what_has_been_tried_is_not_advised(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, tmp_path, batch_size=6, devices=2, accumulate=1)
    assert memory_advice(settings).startswith("try --accumulate 3 ")
    settings = tiny_settings(
        tmp_path, tmp_path, batch_size=2, accumulate=2, use_checkpoint=True, precision="bf16-mixed", patch=(12, 16, 16)
    )
    assert memory_advice(settings) == "try a smaller --patch"


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "32", "--device: expected cpu, cuda, cuda:1 or mps; got 'gpu'"),
        ("cpu", "bfloat16", "--precision: expected 32, bf16-mixed, 16-mixed; got 'bfloat16'"),
    ],
)
def test_processes_are_not_started_for_what_is_no_choice(device: str, precision: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start_processes(device, 1, 1, precision)
