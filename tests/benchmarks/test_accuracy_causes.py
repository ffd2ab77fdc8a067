"""Why a net of the accuracy study scores as it does: what it finds, its gradients, its attention frozen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.accuracy.cases import Prepared, batch, prepare
from benchmarks.accuracy.causes import __main__ as command
from benchmarks.accuracy.causes.frozen_attention import frozen, mean_maps, terms
from benchmarks.accuracy.causes.recall import CALIBERS, calibers, taken_for, tumors_by_brightness, vessels_by_caliber
from benchmarks.accuracy.causes.skip_gradients import passed_on
from benchmarks.accuracy.run import run
from benchmarks.accuracy.run_files import file_of, net_of
from benchmarks.accuracy.variants import make
from support.study_cases import CPU, TINY, volume, write_cases


def tubes() -> np.ndarray:
    """Square rods along the rows, 2, 3 and 5 voxels wide."""
    vessel = np.zeros((40, 12, 30), bool)
    for first, width in ((2, 2), (10, 3), (20, 5)):
        vessel[first : first + width, 3 : 3 + width, 2:-2] = True
    return vessel


def test_a_caliber_is_the_width_of_the_vessel() -> None:
    found = calibers(tubes())
    assert np.unique(found[2:4]).tolist() == [0, 1]
    assert np.unique(found[10:13, 3:6, 5:-5]).tolist() == [2]
    assert np.unique(found[20:25, 3:8, 5:-5]).tolist() == [3]


def case_of(target: np.ndarray, image: np.ndarray | None = None) -> Prepared:
    return Prepared("a", np.ones(target.shape, np.float32) if image is None else image, target.astype(np.uint8))


def test_what_is_found_by_hand() -> None:
    vessel = tubes()
    prediction = vessel.astype(np.uint8)
    prediction[2:4] = 0
    found = vessels_by_caliber(prediction, case_of(vessel))
    assert found == {
        CALIBERS[0]: [0, 2 * 2 * 26], CALIBERS[1]: [3 * 3 * 26] * 2, CALIBERS[2]: [5 * 5 * 26] * 2,
    }  # fmt: skip


def test_tumors_by_their_own_brightness() -> None:
    target = np.zeros((4, 5, 30), np.uint8)
    image = np.full(target.shape, 0.5, np.float32)
    for i, brightness in enumerate((-0.5, 0.1, 0.5)):
        piece = (slice(1, 3), slice(1, 3), slice(2 + 10 * i, 5 + 10 * i))
        target[piece] = 2
        image[piece] = brightness
    prediction = target.copy()
    prediction[:, :, 24:] = 0
    prediction[1, 1, 2] = 1
    assert tumors_by_brightness(prediction, case_of(target, image)) == {
        "darker": [11, 12, 1], "isodense": [12, 12, 1], "brighter": [8, 12, 1],
    }  # fmt: skip


def test_what_is_taken_for_what() -> None:
    target = np.array([[[0, 0, 1, 1, 2, 2]]], np.uint8)
    prediction = np.array([[[0, 1, 1, 2, 2, 2]]], np.uint8)
    assert taken_for(prediction, case_of(target)) == [[1, 1, 0], [0, 1, 1], [0, 0, 2]]


def batches(count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    cases = [prepare(name, volume(seed), TINY) for seed, name in enumerate("ab")]
    return [batch(cases, TINY, 0, step) for step in range(count)]


def test_gradients_of_plain_skips_are_what_they_must_be() -> None:
    for found in passed_on(make("add", TINY, 0), TINY.loss(), batches()):
        assert found == {"decoder": pytest.approx(1), "encoder": pytest.approx(1)}
    for found in passed_on(make("no-skip", TINY, 0), TINY.loss(), batches()):
        assert found == {"decoder": pytest.approx(1), "encoder": 0}
    for found in passed_on(make("concat", TINY, 0), TINY.loss(), batches(1)):
        # Each half of the channels has its part of the square.
        assert found["decoder"] ** 2 + found["encoder"] ** 2 == pytest.approx(1, rel=1e-5)


def test_gradients_through_attention_are_those_of_the_skip_alone() -> None:
    net = make("csca-mean", TINY, 0)
    for skip in net.skips:
        # Maps that do not depend on the decoder map hand no gradient on to it.
        for half in (skip.channel, skip.slices):
            torch.nn.init.zeros_(half.to_key.weight)
            torch.nn.init.zeros_(half.to_key.bias)
    found = passed_on(net, TINY.loss(), batches())
    assert [level["decoder"] for level in found] == [0, 0, 0]
    # So none arrives at the deeper levels, which reach the result through decoder maps alone.
    assert [level["encoder"] > 0 for level in found] == [True, False, False]


def test_a_net_is_left_as_it_is() -> None:
    net, other = make("csca-mean", TINY, 0).eval(), make("csca-mean", TINY, 0)
    passed_on(net, TINY.loss(), batches())
    assert all(skip.recompute for skip in net.skips)
    assert not net.training
    for ours, theirs in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["csca-instance+residual", "csca-none", "cca-cosine", "sca-mean+residual"])
def test_frozen_maps_of_one_patch_give_the_same_there_and_else_not(variant: str) -> None:
    net = make(variant, TINY, 0).eval().double()
    one, other = (image[:1].double() for image, _ in batches())
    ours = frozen(net, mean_maps(net, [one]))
    with torch.inference_mode():
        torch.testing.assert_close(ours(one), net(one), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(ours(other), net(other), rtol=0, atol=1e-9)


def test_other_skips_are_left_as_they_are() -> None:
    net = make("csca-mean+concat", TINY, 0).eval()
    maps = mean_maps(net, [image for image, _ in batches()])
    assert maps == [{}, {}, {}]
    assert [type(skip) for skip in frozen(net, maps).skips] == [type(skip) for skip in net.skips]


def test_mean_maps_are_means_over_all_patches() -> None:
    net = make("csca-mean+residual", TINY, 0).eval().double()
    images = [image.double() for image, _ in batches()]
    seen = []
    net.skips[0].register_forward_hook(lambda skip, maps, _: seen.append(skip.attention_maps(*maps)))
    found = mean_maps(net, images)[0]
    assert [len(maps.channel) for maps in seen] == [2, 2]
    torch.testing.assert_close(found["channel"], torch.cat([maps.channel for maps in seen]).mean(0))
    torch.testing.assert_close(found["slices"], torch.cat([maps.slices for maps in seen]).mean(0))


def test_terms_by_hand() -> None:
    net = make("csca-mean+residual", TINY, 0).eval().double()
    skip = net.skips[0]
    with torch.no_grad():
        # Even maps, and values that are the encoder map: the mean over channels, and 5 in every voxel.
        for half in (skip.channel, skip.slices):
            half.to_key.weight.zero_()
            half.to_key.bias.zero_()
            half.to_value.bias.zero_()
        skip.channel.to_value.weight.copy_(torch.eye(2)[:, :, None, None, None])
        skip.slices.to_out.weight.zero_()
        skip.slices.to_out.bias.fill_(5)
    seen = []
    skip.register_forward_hook(lambda _, maps, __: seen.append(maps))
    (found, *_) = terms(net, [batches()[0][0].double()])
    query, context = seen[0]
    size = query.square().mean().sqrt()
    assert found["channel"] == pytest.approx(float(context.mean(1).square().mean().sqrt() / size))
    assert found["slices"] == pytest.approx(float(5 / size))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, runs = write_cases(tmp_path_factory.mktemp("cases")), tmp_path_factory.mktemp("runs")
    for variant in ("concat", "csca-instance+residual"):
        assert run(folder, runs, variant, 0, "all", TINY, CPU, sizes=(1.0,)) == 0
    return folder, runs


@pytest.mark.slow
def test_the_study_looks_at_each_net_once(trained: tuple[Path, Path], tmp_path: Path) -> None:
    folder, runs = trained
    result = tmp_path / "causes.json"
    command.study(folder, runs, [("concat", 0)], TINY, result)
    first = json.loads(result.read_text())["nets"]
    command.study(folder, runs, [("concat", 0), ("csca-instance+residual", 0)], TINY, result)
    nets = json.loads(result.read_text())["nets"]
    assert nets[0] == first[0]
    assert [net["variant"] for net in nets] == ["concat", "csca-instance+residual"]
    assert "dice_frozen" not in nets[0]
    assert set(nets[1]["dice"]) == set(nets[1]["dice_frozen"]) == {"vessel", "tumor"}
    # The net is the one that was trained: it scores as its run says.
    scores = json.loads(file_of(runs, "csca-instance+residual", 0, "all").read_text())["scores"]["1"].values()
    assert nets[1]["dice"]["tumor"] == pytest.approx(np.mean([case["tumor"]["dice"] for case in scores]))
    for _, found in nets[1]["maps"][0].items():
        assert np.sum(found, axis=1) == pytest.approx(1, abs=1e-3)


def test_nets_that_are_missing_or_damaged_are_named(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, runs = trained
    result = tmp_path / "causes.json"
    with pytest.raises(ValueError, match="expected the weights of a finished run; found none"):
        command.study(folder, tmp_path, [("add", 0)], TINY, result)
    run_of_it = file_of(tmp_path, "add", 0, "all")
    made = json.loads(file_of(runs, "concat", 0, "all").read_text())
    run_of_it.write_text(json.dumps(made))
    with pytest.raises(ValueError, match=r"found none; run benchmarks.accuracy; remove add-0.json, which has none"):
        command.study(folder, tmp_path, [("add", 0)], TINY, result)
    net_of(run_of_it).write_bytes(b"PK")
    for changes, message in (
        ({}, "expected the weights of add; got a damaged file or others"),
        ({"finite": False, "scores": {}}, "expected a run that did not fail; got one that did"),
        ({"task": {}}, "expected a run of this task; got another task's"),
    ):
        run_of_it.write_text(json.dumps(made | changes))
        with pytest.raises(ValueError, match=message):
            command.study(folder, tmp_path, [("add", 0)], TINY, result)
    net_of(run_of_it).unlink()
    net_of(run_of_it).mkdir()
    run_of_it.write_text(json.dumps(made))
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        command.study(folder, tmp_path, [("add", 0)], TINY, result)
    monkeypatch.setattr("sys.argv", ["causes", "--cases", str(folder), "--runs", str(tmp_path), "--variants", "add",
                                     "--json", str(result)])  # fmt: skip
    assert command.main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}")
    assert not result.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected what this command wrote .*; remove it"),
        ("no JSON", "expected what this command wrote .*; remove it"),
        ('{"task": {}, "nets": [{}]}', "expected what this command wrote .*; remove it"),
        ("[" * 100_000, "expected what this command wrote .*; remove it"),
        ('{"task": {}, "nets": []}', "expected the same task; got another; give another --json"),
    ],
)
def test_a_result_of_something_else_is_left_alone(
    trained: tuple[Path, Path], tmp_path: Path, text: str, message: str
) -> None:
    folder, runs = trained
    result = tmp_path / "causes.json"
    result.write_text(text)
    with pytest.raises(ValueError, match=message):
        command.study(folder, runs, [("concat", 0)], TINY, result)
    assert result.read_text() == text
