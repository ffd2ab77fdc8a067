"""What the accuracy study measures of a network: scores by hand, attention and spread of scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.accuracy.case_scores import predicted, scored
from benchmarks.accuracy.cases import Prepared, prepare
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
