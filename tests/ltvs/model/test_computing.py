"""The devices that networks run on, and the precision that a device computes in fast."""

import re

import pytest
import torch

from ltvs.model.computing import check_device, check_precision, computing_in, fast_precision, predicting_in
from ltvs.runtime.errors import InputError


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}, "32"),
        ({"architecture": "x86_64", "avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"architecture": "x86_64", "avx2": True, "amx_bf16": True}, "bf16-mixed"),
        ({"architecture": "arm64", "neon": True, "bf16": True}, "bf16-mixed"),
        ({"architecture": "arm64", "neon": True}, "32"),
    ],
)
def test_bfloat16_where_the_processor_has_instructions_for_it(capabilities, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fast_precision("cpu") == precision


def test_float32_where_pytorch_cannot_be_asked(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert fast_precision("cpu") == "32"


def test_float32_on_devices_that_are_neither(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    assert fast_precision("mps") == "32"


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32")])
def test_bfloat16_on_gpus_that_do_not_emulate_it(has, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert fast_precision("cuda:1") == precision


@pytest.mark.parametrize("has", [True, False])
def test_prediction_takes_bfloat16_by_itself_and_emulates_nothing(has, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    fast = "bf16-mixed" if has else "32"
    assert [predicting_in(precision, "cuda") for precision in ("auto", "bf16-mixed")] == [fast, fast]
    assert [predicting_in(precision, "cuda") for precision in ("32", "16-mixed")] == ["32", "16-mixed"]


@pytest.mark.parametrize("precision", ["automatic", "AUTO", "", None])
def test_unknown_precisions_of_prediction_are_refused(precision):
    message = rf"^--precision: expected auto, 32, bf16-mixed, 16-mixed; got {precision!r}; give one of these$"
    with pytest.raises(InputError, match=message):
        predicting_in(precision, "cpu")


UNKNOWN = ["bfloat16", "bf16", "16", "float32", "", None, 32]


@pytest.mark.parametrize("precision", UNKNOWN)
def test_unknown_precisions_are_refused(precision):
    message = rf"^--precision: expected 32, bf16-mixed, 16-mixed; got {precision!r}; give one of these$"
    for use in (
        lambda: computing_in(precision, torch.device("cpu")),
        lambda: check_precision(precision, "cpu", 16, 3),
    ):
        with pytest.raises(InputError, match=message):
            use()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)]
)
def test_layers_compute_in_the_precision(precision, dtype):
    a, b = torch.rand(2, 3), torch.rand(3, 4)
    with computing_in(precision, torch.device("cpu")):
        assert (a @ b).dtype == dtype


@pytest.fixture(params=[0, 2], ids=["no GPU", "two GPUs"])
def gpus(request, monkeypatch) -> int:
    """Let PyTorch find so many GPUs, on which nothing can be computed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return request.param


WORDS = ["gpu", "meta", "cpu:0", "cpu:7", "", " ", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1\n", "cuda:" + 30 * "9"]


@pytest.mark.parametrize("name", [*WORDS, "cuda:²", "mps:0", "xpu", "nvidia", "0", "cuda,cpu"])
def test_what_is_no_name_of_a_device_is_refused_in_one_short_line(name, gpus):
    remedy = "cuda" if gpus else "cpu"
    with pytest.raises(InputError) as caught:
        check_device(name)
    message = f"--device: expected cpu, cuda, cuda:1 or mps; got {name!r}; give {remedy}"
    assert str(caught.value) == message
    assert len(message.splitlines()) == 1
    for use in (fast_precision, lambda device: check_precision("32", device, 16, 3)):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            use(name)


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, "got 'cuda', but PyTorch finds no cuda device here; give cpu"),
        ("cuda:1", 0, "got 'cuda:1', but PyTorch finds no cuda device here; give cpu"),
        ("cuda:99", 2, "got 'cuda:99', but this machine has 2 for PyTorch; give cuda"),
        ("cuda:2", 2, "got 'cuda:2', but this machine has 2 for PyTorch; give cuda"),
        ("mps", 0, "got 'mps', but PyTorch finds no mps device here; give cpu"),
        ("mps", 2, "got 'mps', but PyTorch finds no mps device here; give cuda"),
    ],
    indirect=["gpus"],
)
def test_devices_that_are_not_there_are_refused(name, gpus, message):
    with pytest.raises(InputError, match=f"^--device: expected a device that is there; {message}$"):
        check_device(name)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("cuda:1", 2, "--devices 2: expected 1 with --device cuda:1, which is a single one; give cuda"),
        ("cuda", 3, "--devices 3: expected 2 or fewer, as this machine has; got 3"),
    ],
)
def test_more_devices_than_there_are(name, count, message, gpus):
    if gpus == 0:
        message = message if ":" in name else "--device: expected a device that is there; got 'cuda'"
    with pytest.raises(InputError, match=f"^{message}"):
        check_device(name, count)


def test_a_device_that_does_not_work_is_refused(gpus, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("driver too old\nand much more")

    monkeypatch.setattr(torch, "zeros", fail)
    name = "cuda:1" if gpus else "cpu"
    with pytest.raises(InputError, match=rf"^--device: expected a device that works; got '{name}' \(driver too old\)"):
        check_device(name)


def test_processes_on_a_cpu_may_be_many(gpus):
    check_device("cpu", 5)
