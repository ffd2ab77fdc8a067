"""A step clips gradients and averages weights where asked, in float16 and with batch statistics too."""

import math
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ltvs.model.computing import Precision
from ltvs.model.networks import make_network
from ltvs.training.devices import start_processes
from ltvs.training.loop import seed_everything
from ltvs.training.step import Learner, Sample
from support.trained_runs import tiny_settings

STEPS = 5


def new_learner(precision: Precision = "32", **changes: object) -> Learner:
    settings = tiny_settings(Path("data"), Path("run"), patch=(9, 16, 16), precision=precision, **changes)
    seed_everything(0)
    fabric = start_processes("cpu", 1, 1, precision)
    return Learner(fabric, make_network(settings.network_of(2)), settings, STEPS)


def batch(seed: int) -> list[Sample]:
    """Two patches, each in a micro-batch."""
    random = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, 9, 16, 16, generator=random)
    target = torch.randint(3, (2, 9, 16, 16), generator=random, dtype=torch.uint8)[:, None]
    return [Sample(image[i : i + 1], target[i : i + 1], "case") for i in range(2)]


def gradient_norm(learner: Learner) -> float:
    return float(torch.nn.utils.get_total_norm([p.grad for p in learner.net.parameters()]))


def steps(learner: Learner) -> list[dict[str, torch.Tensor]]:
    """Take all steps; the state of the network after each."""
    states = []
    for step in range(STEPS):
        learner.backward(batch(step))
        assert learner.update()
        states.append({name: value.clone() for name, value in learner.net.state_dict().items()})
    return states


@pytest.mark.parametrize("decay", [0.25, 0.999])
def test_the_average_leaves_the_first_weights_behind(decay: float) -> None:
    """The decays of the steps 2, 3, ... are 2/11, 3/12, ... at most, so that the last weights weigh most at first."""
    learner = new_learner(ema=decay)
    states = steps(learner)
    expected = states[0]
    for n, state in enumerate(states[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        expected = {name: d * value + (1 - d) * state[name] for name, value in expected.items()}
    got = learner.result.state_dict()
    counts = [name for name, value in states[0].items() if not value.is_floating_point()]
    assert len(counts) == sum(name.endswith("running_mean") for name in got) > 0
    for name, value in got.items():
        if name in counts:
            assert value == states[-1][name] == 2 * STEPS
        else:
            torch.testing.assert_close(value, expected[name])
    assert not torch.equal(got["head.weight"], states[-1]["head.weight"])


def test_training_goes_on_with_the_weights_themselves() -> None:
    averaging, plain = new_learner(ema=0.9), new_learner()
    for a, b in zip(steps(averaging), steps(plain), strict=True):
        assert all(torch.equal(value, b[name]) for name, value in a.items())
    assert plain.result is plain.net
    assert "average" not in plain.state()


def test_the_average_is_part_of_the_state() -> None:
    learner, other = new_learner(ema=0.9), new_learner(ema=0.9)
    steps(learner)
    other.load_state(deepcopy(learner.state()))
    for one in (learner, other):
        one.backward(batch(9))
        one.update()
    got = other.result.state_dict()
    assert all(torch.equal(value, got[name]) for name, value in learner.result.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_batch_statistics_of_the_result_are_those_of_the_first_process(decay: float) -> None:
    learner = new_learner(ema=decay)
    steps(learner)
    assert any(buffer.any() for buffer in learner.result.buffers())
    learner.fabric = SimpleNamespace(world_size=2, broadcast=torch.zeros_like)
    learner.share_statistics()
    assert not any(buffer.any() for buffer in learner.result.buffers())


def test_the_memory_format_of_the_average_is_that_of_the_network() -> None:
    weight = new_learner(ema=0.9).result.encoder[1][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not weight.is_contiguous()


@pytest.mark.parametrize("precision", ["32", "16-mixed"])
def test_gradients_are_clipped_as_they_are_without_a_scale(precision: Precision) -> None:
    plain = new_learner()
    plain.backward(batch(0))
    norm = gradient_norm(plain)
    for limit, expected in ((norm / 4, norm / 4), (norm * 4, norm), (0.0, None)):
        learner = new_learner(precision, clip_norm=limit)
        learner.backward(batch(0))
        before = gradient_norm(learner)
        learner.update()
        scale = 2.0**16 if precision == "16-mixed" else 1.0
        assert before == pytest.approx(norm * scale, rel=0.02)
        assert gradient_norm(learner) == pytest.approx(norm if expected is None else expected, rel=0.02)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_step_in_float16_that_overflows_is_skipped(limit: float) -> None:
    learner = new_learner("16-mixed", clip_norm=limit)
    state = learner.state()
    learner.load_state(state | {"scaler": state["scaler"] | {"scale": 2.0**100}})
    before = learner.net.head.weight.clone()
    learner.backward(batch(0))
    assert not math.isfinite(gradient_norm(learner))
    assert learner.update(), "nothing is wrong with the weights"
    assert torch.equal(learner.net.head.weight, before)
    assert learner.state()["scaler"]["scale"] == 2.0**99
