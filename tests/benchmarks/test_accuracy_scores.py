"""What the accuracy study measures of a network: scores by hand, attention and spread of scores."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.accuracy.case_scores import LABELS, calibrate, predicted, scored
from benchmarks.accuracy.cases import Prepared, evenly, prepare
from benchmarks.accuracy.causes import attention_probes as probes
from benchmarks.accuracy.variants import make
from ltvs.evaluation.metrics import cldice
from support.study_cases import CPU, TINY, volume


def test_scores_by_hand() -> None:
    target = np.zeros((2, 3, 4), np.uint8)
    target[0, 0] = 1
    prediction = np.zeros((2, 3, 4), np.uint8)
    prediction[0, 0, :2] = 1
    found = scored(prediction, Prepared("a", target.astype(np.float32), target), skeletons=False)
    assert found == {
        "vessel": {"dice": pytest.approx(2 / 3), "iou": pytest.approx(0.5)},
        "tumor": {"dice": None, "iou": None},
    }


def test_cldice_of_vessels_is_the_pipeline_s() -> None:
    line = np.zeros((12, 14, 30), np.uint8)
    line[5:8, 5:8, 2:-2] = 1
    half = line.copy()
    half[:, :, 15:] = 0
    nothing = np.zeros_like(line)

    def of(prediction: np.ndarray, target: np.ndarray) -> float | None:
        case = Prepared("a", target.astype(np.float32), target)
        scores = scored(prediction, case, skeletons=True)
        assert "cldice_thinned" not in scores["tumor"]
        return scores["vessel"]["cldice_thinned"]

    assert of(half, line) == cldice(half == 1, line == 1)
    assert 0.5 < of(half, line) < 0.8
    assert of(nothing, line) == 0
    assert of(nothing, nothing) is None


class Threshold(torch.nn.Module):
    """Vessels are what is bright, tumors what is dark."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The image has 0.4 in places, where two classes would be as likely but for rounding.
        return torch.cat([torch.zeros_like(x) + 0.39, x, -x], dim=1)


@pytest.mark.parametrize("patch", [(8, 16, 16), (8, 8, 8), (8, 32, 32)])
def test_a_case_is_predicted_at_any_patch_size(patch: tuple[int, int, int]) -> None:
    case = prepare("a", volume(), replace(TINY, noise=0.0, contrast=1.0, isodense=0.0))
    expected = Threshold()(torch.from_numpy(case.image)[None, None])[0].argmax(0)
    assert np.array_equal(predicted(Threshold(), case, patch, CPU), expected.numpy())


class Ranked(torch.nn.Module):
    """Logits that a bias shifts: the image, as vessel, against background; no tumor is ever likely."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.head = torch.nn.Conv3d(1, 3, 1)
        torch.nn.init.zeros_(self.head.weight)
        self.head.weight.data[1] = 1
        self.head.bias.data = torch.tensor([0.0, shift, -20.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


@settings(max_examples=20, deadline=None)
@given(shift=st.sampled_from([-0.9, -0.6, 0.0, 0.5, 1.0]), seed=st.integers(0, 2**31))
def test_odds_are_chosen_so_that_dice_is_highest(shift: float, seed: int) -> None:
    target = (np.random.default_rng(seed).random((8, 12, 10)) < 0.3).astype(np.uint8)
    # Factors are at most 0.45 apart in logits, so one of them puts the border between the voxels of both classes.
    image = np.where(target, 0.3, -0.3).astype(np.float32)
    case = Prepared("a", image, target)
    net = Ranked(shift)
    before = net.head.bias.detach().clone()
    factors = calibrate(net, [case], (8, 12, 10), CPU)
    assert scored(predicted(net, case, (8, 12, 10), CPU), case, skeletons=False)["vessel"]["dice"] == 1
    assert torch.equal(net.head.bias[1:], before[1:] + torch.tensor(factors).log())
    assert net.head.bias[0] == before[0]
    # A class that the cases lack keeps its odds, and so does one where nothing is to gain.
    assert factors[LABELS.index("tumor")] == 1
    assert shift != 0 or factors[LABELS.index("vessel")] == 1


def test_without_a_class_the_odds_stay() -> None:
    empty = Prepared("a", np.full((8, 8, 8), -2.0, np.float32), np.zeros((8, 8, 8), np.uint8))
    assert calibrate(Ranked(0.5), [empty], (8, 8, 8), CPU) == (1, 1)


def test_odds_are_chosen_for_the_mean_over_cases_that_have_the_class() -> None:
    target = np.zeros((8, 8, 8), np.uint8)
    target[2:5] = 1
    of_vessel = Prepared("a", np.where(target, -0.3, -2.0).astype(np.float32), target)
    empty = Prepared("b", np.full(target.shape, -2.0, np.float32), np.zeros_like(target))
    net = Ranked(0.0)
    assert calibrate(net, [empty, of_vessel, empty], (8, 8, 8), CPU) == (1.5, 1)
    assert not predicted(net, empty, (8, 8, 8), CPU).any()


@given(cases=st.integers(1, 60), number=st.integers(0, 70))
def test_cases_are_chosen_at_even_steps(cases: int, number: int) -> None:
    chosen = evenly(range(cases), number)
    assert len(chosen) == min(cases, number)
    assert len({b - a for a, b in pairwise(chosen)}) <= 2
    assert sorted(set(chosen)) == chosen


def test_probes_of_even_attention() -> None:
    net = make("csca-mean", TINY, 0)
    for skip in net.skips:
        torch.nn.init.zeros_(skip.channel.to_query.weight)
        torch.nn.init.zeros_(skip.channel.to_query.bias)
    seen = probes.probed(net.eval(), [prepare("a", volume(), TINY)], (8, 16, 16), CPU)
    assert len(seen) == 3
    for probe in seen:
        assert probe["channel"] == {"spread": 0, "entropy": pytest.approx(1)}
        assert probe["slices"]["spread"] > 0


@pytest.mark.parametrize(
    ("variant", "halves"),
    [("sca-none", {"slices"}), ("cca-sqrt", {"channel"}), ("csca-instance+centered", {"channel", "slices"}),
     ("csca-cosine+axes", {"channel", "slices"}), ("csca-mean+concat", {"channel", "slices"})],
)  # fmt: skip
def test_probes_see_what_the_attention_is_made_of(variant: str, halves: set[str]) -> None:
    seen = probes.probed(make(variant, TINY, 0).eval(), [prepare("a", volume(), TINY)], (8, 16, 16), CPU)
    assert [set(probe) for probe in seen] == [halves] * 3


def test_probed_entropy_is_that_of_the_attention_maps() -> None:
    net = make("csca-instance", TINY, 0).eval()
    case = prepare("a", volume(), TINY)
    probe = probes.probed(net, [case], (8, 16, 16), CPU)[0]["channel"]
    kept = {}
    net.skips[0].register_forward_hook(lambda module, maps, out: kept.update(m=module.attention_maps(*maps).channel))
    net(torch.from_numpy(probes.filled(case.image, (8, 16, 16)))[None, None])
    m = kept["m"]
    assert probe["entropy"] == pytest.approx(float(-(m * m.log()).sum(-1).mean().detach() / np.log(2)), rel=1e-4)


def test_a_case_is_mirrored_to_any_size() -> None:
    image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    assert probes.filled(image, (2, 3, 4)).tolist() == image.tolist()
    assert probes.filled(image, (2, 1, 2)).tolist() == image[:, 1:2, 1:3].tolist()
    assert probes.filled(image, (1, 1, 12))[0, 0].tolist() == [7, 6, 5, 4, 4, 5, 6, 7, 7, 6, 5, 4]
