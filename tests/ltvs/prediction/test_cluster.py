"""The place among all processes, as torchrun, SLURM or nobody tells it."""

import pytest

from ltvs.prediction.cluster import Place, place_here
from ltvs.runtime.errors import InputError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2", "SLURM_PROCID": "3",
         "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_JOB_NAME": "label", "SLURM_JOB_ID": "7"}  # fmt: skip


@pytest.fixture
def started_by(monkeypatch: pytest.MonkeyPatch):
    """Set the environment of a launcher, and of no other."""
    for name in (*TORCHRUN, *SLURM, "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    return lambda variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


def test_alone(started_by) -> None:
    assert place_here("cuda:1", 1, 1) == Place(0, ("cuda:1",), 0, 1)
    assert place_here("cpu", 2, 1) == Place(0, ("cpu", "cpu"), 0, 2)
    assert place_here("cuda", 3, 1) == Place(0, ("cuda:0", "cuda:1", "cuda:2"), 0, 3)


def test_on_the_second_of_two_machines(started_by) -> None:
    started_by({"NODE_RANK": "1"})
    assert place_here("cuda", 2, 2) == Place(1, ("cuda:0", "cuda:1"), 2, 4)


@pytest.mark.parametrize("launcher", [TORCHRUN, SLURM])
def test_started_for_one_device(started_by, launcher: dict[str, str]) -> None:
    started_by(launcher)
    assert place_here("cuda", 2, 2) == Place(3, ("cuda:1",), 3, 4)
    assert place_here("cpu", 2, 2) == Place(3, ("cpu",), 3, 4)


@pytest.mark.parametrize("launcher", [TORCHRUN, SLURM])
def test_another_number_of_processes(started_by, launcher: dict[str, str]) -> None:
    started_by(launcher)
    with pytest.raises(InputError, match="--devices 3 --nodes 1: do not fit how this was started; You set"):
        place_here("cpu", 3, 1)
