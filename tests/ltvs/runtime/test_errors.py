"""Which errors are nobody's mistake, and their one line."""

import errno
import re

import numpy as np
import pytest
import torch

from ltvs.runtime.errors import InputError, one_line, printable, ran_out_of_memory, reason_without_mistake


def huge_array() -> Exception:
    with pytest.raises(MemoryError) as caught:
        np.zeros((2**40, 2**10))
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        huge_array(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Exception thrown in SimpleITK: sitk::ERROR: Failed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
        # What PyTorch says in a container with little of it.
        RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"),
    ],
    ids=str,
)
def test_memory_that_ran_out(error: Exception) -> None:
    assert ran_out_of_memory(error)
    reason = reason_without_mistake(error)
    assert reason is not None
    assert re.fullmatch(r"out of memory \(.+\); end other programs, or use a machine or GPU with more of it", reason)


@pytest.mark.parametrize("error", [RuntimeError("The size of tensor a (3) must match"), IndexError(), ValueError("x")])
def test_what_may_be_a_mistake(error: Exception) -> None:
    assert not ran_out_of_memory(error)
    assert reason_without_mistake(error) is None


def test_input_and_files_that_fail() -> None:
    assert reason_without_mistake(InputError("--size: expected less")) == "--size: expected less"
    full = OSError(errno.ENOSPC, "No space left on device", "run/log.txt")
    assert reason_without_mistake(full) == "run/log.txt: No space left on device"
    moved = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")
    assert reason_without_mistake(moved) == "a: b: Invalid cross-device link"
    assert reason_without_mistake(OSError("no number,\ntwo lines")) == "no number, two lines"


def test_printable() -> None:
    assert printable("ä b.nii.gz") == "ä b.nii.gz"
    assert printable("a\n\x1b[2J\udcff") == r"a\n\x1b[2J\udcff"


def test_one_line() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(MemoryError()) == "MemoryError"
