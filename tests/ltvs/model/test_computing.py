"""The precision that a device computes in fast."""

import pytest
import torch

from ltvs.model.computing import fast_precision, not_emulated


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


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32")])
def test_bfloat16_on_gpus_that_do_not_emulate_it(has, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert fast_precision("cuda:1") == precision


@pytest.mark.parametrize("has", [True, False])
def test_prediction_emulates_nothing(has, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert not_emulated("bf16-mixed", "cuda") == ("bf16-mixed" if has else "32")
    assert [not_emulated(precision, "cuda") for precision in ("32", "16-mixed")] == ["32", "16-mixed"]
