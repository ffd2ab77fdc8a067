"""Which backend computes: what was asked for, what `auto` takes, and what the environment names in its place."""

import os
import subprocess
import sys
from unittest import mock

import pytest
import torch

from crossattn3d import CSCA, functional
from crossattn3d.kernels import backends, operation, torch_pass
from crossattn3d.kernels.cpp import run as cpp
from support.backends import FAST, needs_cpp
from support.random_parameters import channel_parameters, maps

SIZE = (3, 4, 5)
PRIMITIVES = [
    ("auto", SIZE, torch_pass.run_pass),
    ("auto", (4, 128, 128), cpp.run_pass),
    ("torch", (4, 128, 128), torch_pass.run_pass),
    ("cpp", SIZE, cpp.run_pass),
]


@needs_cpp
@pytest.mark.parametrize(("backend", "size", "primitive"), PRIMITIVES)
def test_the_primitive_that_makes_the_passes(backend, size, primitive, monkeypatch):
    """`auto` takes C++ where maps are large enough for compiling it to be worth the wait."""
    used = []
    original = operation.implementation
    monkeypatch.setattr(operation, "implementation", lambda *a: used.append(original(*a)) or used[-1])
    functional.channel_cross_attention(*maps(2, 1, 3, 4, size), channel_parameters(2, 3, 4, 4), backend=backend)
    assert [how.run_pass for how in used] == [primitive]


@pytest.mark.parametrize("named", ["reference", "torch", "cpp"])
def test_the_environment_names_a_backend_in_place_of_auto(named, monkeypatch):
    """Of all functions and modules, and whether a skip is recomputed; not in place of a backend that was chosen."""
    if named == "cpp" and "cpp" not in FAST:
        pytest.skip("no C++")
    u, e = (x.float() for x in maps(1, 2, 3, 4, SIZE))
    chosen, auto, other = (CSCA(3, 4, backend=backend) for backend in (named, "auto", "torch"))
    auto.load_state_dict(chosen.state_dict())
    other.load_state_dict(chosen.state_dict())
    expected, expected_other = chosen(u, e), other(u, e)
    monkeypatch.setattr(backends, "IN_PLACE_OF_AUTO", named)
    assert torch.equal(auto(u, e), expected)
    assert auto.recompute == chosen.recompute
    assert all(map(torch.equal, auto.attention_maps(u, e), chosen.attention_maps(u, e)))
    assert torch.equal(other(u, e), expected_other)


def test_a_triton_that_cannot_be_imported(monkeypatch, caplog):
    """It is a reason like others, and is said once."""
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    monkeypatch.setattr(backends, "import_module", mock.Mock(side_effect=ImportError("libtriton.so: no such file")))
    backends._triton.cache_clear()
    try:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"triton: .*; got Triton cannot be imported \(ImportError\); use"):
                CSCA(3, backend="triton")(*maps(1, 1, 3, 3, SIZE))
    finally:
        backends._triton.cache_clear()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Triton cannot be imported: ImportError: libtriton.so: no such file"
    ]


@needs_cpp
def test_a_backend_that_the_environment_names_and_that_cannot_run(monkeypatch):
    monkeypatch.setattr(backends, "IN_PLACE_OF_AUTO", "cpp")
    with pytest.raises(ValueError, match=r"cpp: .* got maps of torch\.float16; .* and unset CROSSATTN3D_BACKEND"):
        CSCA(3)(*(x.half() for x in maps(1, 1, 3, 3, SIZE)))


def test_the_environment_is_read_at_the_import():
    code = "from crossattn3d import functional; print(functional.backend_of('auto'), functional.backend_of('torch'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"CROSSATTN3D_BACKEND": "reference"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["reference", "torch"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("named", ["", "torch"])
@pytest.mark.parametrize("chosen", ["cuda", "Torch", "", None])
def test_an_unknown_backend_is_refused(chosen, named, monkeypatch):
    monkeypatch.setattr(backends, "IN_PLACE_OF_AUTO", named)
    with pytest.raises(
        ValueError, match=f"^backend: expected auto, reference, torch, cpp, triton; got {chosen!r}; give one of these$"
    ):
        backends.backend_of(chosen)
