"""Training that is compiled or in float16 goes on after a kill as it would have, and leaves what predicts."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ltvs.model.networks import NetworkSettings, make_network
from ltvs.model.saved import load_stage
from ltvs.runtime.files import write_json
from ltvs.training.checkpoints import load_checkpoint, save_checkpoint
from support.trained_runs import tiny_set
from support.training_process import calls, results, run_to_its_end, said, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks and kills processes"),
]

#: 9 slices are 9, 5 and 3 on the levels: in half precision none may be 2 deep.
WORDS = (
    "--stage 2 --epochs 2 --batch-size 2 --patch 9 24 24 --overlap 0 0 0 --channels 2 3 4 --workers 0 "
    "--validate-every 1 --learning-rate 0.01 --save-every 0 --device cpu"
)
#: So many system calls are made before the first step.
FIRST_STEPS = 8
AVERAGED = f"{WORDS} --ema 0.9 --clip-norm 0.01"
COMPILED, HALF = f"{AVERAGED} --compile", f"{WORDS} --precision 16-mixed"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_set(tmp_path_factory.mktemp("data"))
    write_json(made.folder / "split.json", {"train": ["a", "b"], "validation": ["a"], "test": []})
    return made.folder


def killed(data: Path, output: Path, words: str, at: int, environment: dict[str, str] | None = None) -> dict:
    """A run that is killed in this of its system calls; its checkpoint."""
    process = start(data, output, words, at, environment)
    process.join()
    assert process.exitcode == -signal.SIGKILL, said(output)
    state = load_checkpoint(output / "stage2" / "checkpoints")
    assert state is not None
    return state


def steps_of_adam(state: dict) -> int:
    return int(state["learner"]["optimizer"]["state"][0]["step"])


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="Inductor needs a C++ compiler")
def test_compiled(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(cache)}
    run_to_its_end(data, tmp_path / "whole", COMPILED, environment)
    assert list(cache.rglob("*.cpp")), "code was generated"
    run_to_its_end(data, tmp_path / "again", COMPILED, environment)
    assert results(tmp_path / "whole") == results(tmp_path / "again"), "without which what follows would tell nothing"

    expected = make_network(NetworkSettings(3, "ucanet", (2, 3, 4))).state_dict()
    for output in (tmp_path / "killed", tmp_path / "goes on uncompiled"):
        state = killed(data, output, COMPILED, calls(tmp_path / "again") // 2, environment)
        assert state["learner"]["net"].keys() == expected.keys()
        assert state["learner"]["average"].keys() == {"n_averaged", *(f"module.{name}" for name in expected)}
        assert steps_of_adam(state) > 0
    run_to_its_end(data, tmp_path / "killed", COMPILED, environment)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert load_file(tmp_path / "killed" / "stage2" / "last.safetensors").keys() == expected.keys()
    net = load_stage(tmp_path / "killed", 2).net
    assert net(torch.rand(1, 1, 9, 24, 24)).isfinite().all()
    run_to_its_end(data, tmp_path / "goes on uncompiled", AVERAGED)


@pytest.mark.parametrize("words", [HALF, f"{HALF} --ema 0.9 --clip-norm 0.01"])
def test_in_float16(data: Path, tmp_path: Path, words: str) -> None:
    whole = tmp_path / "whole"
    run_to_its_end(data, whole, words)
    state = killed(data, tmp_path / "killed", words, calls(whole) // 2)
    scaler = state["learner"]["scaler"]
    assert scaler["scale"] == 2.0**16, "no gradient was too large"
    assert scaler["_growth_tracker"] == steps_of_adam(state) > 0
    run_to_its_end(data, tmp_path / "killed", words)
    assert results(tmp_path / "killed") == results(whole)


def test_the_scale_of_float16_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    """One that is far too large is halved step by step, and no step of the optimizer is taken, nor a word said."""
    output = tmp_path / "run"
    state = killed(data, output, HALF, at=FIRST_STEPS)
    assert (state["position"]["epoch"], state["position"]["step"]) == (1, 0)
    state["learner"]["scaler"]["scale"] = 2.0**60
    folder = output / "stage2" / "checkpoints"
    shutil.rmtree(folder)
    save_checkpoint(state, folder)
    after = killed(data, output, HALF, at=FIRST_STEPS + 10)
    done = after["position"]["step"]
    assert after["position"]["epoch"] == 1
    assert done > 0
    assert after["learner"]["scaler"]["scale"] == 2.0 ** (60 - done)
    assert after["learner"]["optimizer"]["state"] == {}
    assert "Warning" not in said(output), said(output)
