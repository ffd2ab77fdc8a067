"""What several files of tests of the kernels share."""

import pytest
import torch

from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.cpp import run as cpp


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks and tiles that divide no volume, on three threads; NaN in all memory before it is written."""
    monkeypatch.setattr(cpp, "VALUES_PER_THREAD", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(torch_pass, "CHUNK", 4000)
    monkeypatch.setattr(torch_pass, "COPIED", 3000)
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
