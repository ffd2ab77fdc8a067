"""A stage learns, repeats itself, keeps its best weights, and says what is wrong."""

import csv
import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage

from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import make_network
from ltvs.model.odds import FACTORS
from ltvs.model.saved import load_stage, load_unfolded
from ltvs.runtime.errors import InputError
from ltvs.training.checkpoints import load_checkpoint, save_checkpoint
from ltvs.training.devices import start_processes
from ltvs.training.journal import Epoch, write_curves
from ltvs.training.loop import seed_everything, train_stage
from ltvs.training.run_folder import check_folder, start_stage
from ltvs.training.settings import TrainSettings
from ltvs.training.stage_training import StageTraining
from ltvs.training.validation import calibrate, mean_dice, validate
from support.trained_runs import OVERLAPPING, curves_not_drawn, tiny_set, tiny_settings, train_both

FABRIC = start_processes("cpu", 1, 1, "32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return tiny_set(tmp_path_factory.mktemp("data"))


@dataclass
class Learned:
    """A stage 1 that has learned to find the tiny liver: its settings, its folder, its weights after the last epoch.

    `untrained` and `best` are the Dice on validation before the first epoch and after the best one.
    """

    settings: TrainSettings
    folder: Path
    weights: dict[str, torch.Tensor]
    untrained: float
    best: float

    def net(self) -> torch.nn.Module:
        net = make_network(self.settings.network_of(1))
        net.load_state_dict(self.weights)
        return net


@pytest.fixture(scope="module")
def learned(data: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    output = tmp_path_factory.mktemp("learned")
    changes = {"epochs": 25, "loss": "dice_ce", "channels": (4, 6, 8), "overlap": OVERLAPPING}
    settings = tiny_settings(data.folder, output, stage="1", **changes)
    start_stage(settings, 1, data)
    seed_everything(0)
    net = make_network(settings.network_of(1))
    training = StageTraining(data, 1, settings, FABRIC)
    untrained = validate(net, training)[0]
    with curves_not_drawn():
        best = train_stage(training, net)
    return Learned(settings, output / "stage1", net.state_dict(), untrained, best.dice)


def test_both_stages_leave_settings_weights_and_curves(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path / "run", skip="cca", score_norm="mean", overlap=OVERLAPPING)
    train_both(data, settings)
    for stage, kind in ((1, "UNet3d"), (2, "UCANet")):
        folder = tmp_path / "run" / f"stage{stage}"
        assert {"settings.json", "best.safetensors", "last.safetensors", "curves.csv", "tensorboard"} <= {
            path.name for path in folder.iterdir()
        }
        trained = load_stage(tmp_path / "run", stage)
        assert type(trained.net).__name__ == kind
        assert (trained.patch, trained.overlap, trained.preparation) == ((8, 16, 16), (4, 0, 0), data.preparation)
        with (folder / "curves.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert all(math.isfinite(float(row["loss"])) for row in rows)
    saved = json.loads((tmp_path / "run" / "stage2" / "settings.json").read_text())
    assert saved["prediction"]["network"]["skip"] == "cca"
    assert saved["training"]["learning_rate"] == 0.01
    assert saved["split"] == data.split
    assert saved["versions"]["torch"] == torch.__version__


def test_the_liver_is_learned_and_the_best_weights_are_kept(data: PreparedSet, learned: Learned) -> None:
    kept = validate(load_unfolded(learned.folder.parent, 1)[0], StageTraining(data, 1, learned.settings, FABRIC))
    assert mean_dice(kept) == pytest.approx(learned.best, abs=1e-6)
    assert learned.best > max(0.8, learned.untrained)


def test_the_same_seed_gives_the_same_weights(data: PreparedSet, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        train_both(data, tiny_settings(data.folder, tmp_path / name, stage="2", seed=seed, validate_every=2))
        weights.append((tmp_path / name / "stage2" / "last.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_worker_processes_change_nothing(data: PreparedSet, tmp_path: Path) -> None:
    for workers in (0, 2):
        train_both(data, tiny_settings(data.folder, tmp_path / str(workers), stage="1", workers=workers, epochs=1))
    first, second = ((tmp_path / str(w) / "stage1" / "last.safetensors").read_bytes() for w in (0, 2))
    assert first == second


def test_layers_compute_in_bfloat16_where_asked_and_in_prediction_too(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="2", precision="bf16-mixed", patch=(12, 16, 16))
    train_both(data, settings)
    trained = load_stage(tmp_path, 2)
    assert trained.precision == "bf16-mixed"
    assert all(p.dtype == torch.float32 for p in trained.net.parameters())
    seen = []
    trained.net.encoder[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    scores = []
    for name in ("bf16-mixed", "32"):
        changed = tiny_settings(data.folder, tmp_path, precision=name, patch=(12, 16, 16))
        scores += validate(trained.net, StageTraining(data, 2, changed, FABRIC))
    assert set(seen[: len(seen) // 2]) == {torch.bfloat16}
    assert set(seen[len(seen) // 2 :]) == {torch.float32}
    assert all(math.isfinite(value) for value in scores)


def test_mean_dice_leaves_absent_classes_out() -> None:
    assert mean_dice([0.5, math.nan]) == 0.5
    assert mean_dice([math.nan]) == 0.0


def test_a_class_that_no_validation_case_has_is_not_counted(data: PreparedSet, tmp_path: Path, monkeypatch) -> None:
    import dataclasses

    settings = tiny_settings(data.folder, tmp_path)
    original = PreparedSet.case

    def without_tumor(self: PreparedSet, stage: int, name: str):
        case = original(self, stage, name)
        return dataclasses.replace(case, labels=np.where(case.labels == 3, 1, case.labels).astype(np.uint8))

    monkeypatch.setattr(PreparedSet, "case", without_tumor)
    vessel, tumor = validate(make_network(settings.network_of(2)), StageTraining(data, 2, settings, FABRIC))
    assert 0 <= vessel <= 1
    assert math.isnan(tumor)
    write_curves([Epoch(1, 0.5, [vessel, tumor])], ("vessel", "tumor"), tmp_path / "curves.csv")
    assert (tmp_path / "curves.csv").read_text().splitlines()[1].endswith(",")


def test_a_network_that_finds_too_much_is_made_surer(data: PreparedSet, learned: Learned) -> None:
    settings, net = learned.settings, learned.net()
    with torch.no_grad():
        net.head.bias[1] += math.log(20)
    before, bias = mean_dice(validate(net, StageTraining(data, 1, settings, FABRIC))), net.head.bias.detach().clone()
    (factor,), dice = calibrate(net, StageTraining(data, 1, settings, FABRIC))
    assert factor in FACTORS
    assert net.head.bias.tolist() == pytest.approx((bias + torch.tensor([0, math.log(factor)])).tolist(), abs=1e-6)
    assert factor < 1
    assert dice > before
    # Probabilities are averaged where patches overlap, once after the shift and once before it.
    assert mean_dice(validate(net, StageTraining(data, 1, settings, FABRIC))) == pytest.approx(dice, abs=0.01)


def test_each_class_gets_its_own_odds(data: PreparedSet, tmp_path: Path) -> None:
    """A network that knows the labels, but is too sure of one class and not sure enough of the other."""
    settings = tiny_settings(data.folder, tmp_path)
    task = StageTraining(data, 2, settings, FABRIC)
    net = make_network(settings.network_of(2)).eval()
    truth = {name: task.view.target(np.asarray(data.case(2, name).labels)) for name in data.split["validation"]}
    answers = iter([truth[name] for name in data.split["validation"]])

    def answer(_net, image: np.ndarray, *_rest) -> np.ndarray:
        """Odds of 1 / 1.8 for vessels, 80 for tumors, and 25 for tumors wherever nothing is near."""
        target = next(answers)
        empty = ~ndimage.binary_dilation(target > 0)
        tumor = np.where(target == 2, 80.0, empty * 25.0)
        odds = np.stack([np.ones(target.shape), (target == 1) / 1.8, tumor])
        return (odds / odds.sum(axis=0)).astype(np.float32)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ltvs.training.validation.predict_probabilities", answer)
        factors, dice = calibrate(net, task)
    assert factors == (2.0, 0.7)
    assert dice == 1.0


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_training_calibrates_the_best_weights_where_asked(data: PreparedSet, tmp_path: Path, ema: float) -> None:
    for name, asked in (("plain", False), ("calibrated", True)):
        changes = {"calibrate": asked, "validate_every": 2, "ema": ema}
        train_both(data, tiny_settings(data.folder, tmp_path / name, stage="2", **changes))
        log = (tmp_path / name / "stage2" / "log.txt").read_text()
        assert ("calibrated odds: vessel times " in log) == asked
    plain, calibrated = (load_file(tmp_path / name / "stage2" / "best.safetensors") for name in ("plain", "calibrated"))
    shifts = (calibrated.pop("head.bias") - plain.pop("head.bias")).tolist()
    assert shifts[0] == 0
    for shift in shifts[1:]:
        assert any(shift == pytest.approx(math.log(factor), abs=1e-5) for factor in FACTORS)
    assert all(torch.equal(value, plain[name]) for name, value in calibrated.items())


def test_a_loss_that_is_not_finite_stops_with_the_cases(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1", learning_rate=1e30)
    with pytest.raises(InputError, match=r"the loss is (nan|inf).* on a.*lower --learning-rate, in another --output;"):
        train_both(data, settings)


def test_weights_that_are_not_finite_are_not_saved(
    data: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.Adam.step

    def overflowing(optimizer: torch.optim.Adam, closure: object = None) -> object:
        optimizer.param_groups[0]["params"][0].data.fill_(math.inf)
        return step(optimizer, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", overflowing)
    settings = tiny_settings(data.folder, tmp_path, stage="1", save_every=0)
    reason = r"weights are no longer finite at epoch 1, step 1 on a; lower --learning-rate"
    with pytest.raises(InputError, match=reason):
        train_both(data, settings)
    kept = load_checkpoint(tmp_path / "stage1" / "checkpoints")
    assert kept is not None
    assert all(value.isfinite().all() for value in kept["learner"]["net"].values())


def test_a_checkpoint_of_something_else(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1")
    folder = start_stage(settings, 1, data)
    save_checkpoint({"learner": {}}, folder / "checkpoints")
    with pytest.raises(InputError, match=r"checkpoints: the checkpoint does not fit this training .* to begin again"):
        train_both(data, settings)


def test_no_training_cases(data: PreparedSet, tmp_path: Path) -> None:
    data = PreparedSet(data.folder)
    data.split["train"] = []
    with pytest.raises(InputError, match="the split has no training cases"):
        train_both(data, tiny_settings(data.folder, tmp_path))


def test_a_trained_stage_is_not_overwritten(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1", epochs=1)
    start_stage(settings, 1, data)
    folder = start_stage(settings, 1, data)  # a run that ended before it had weights may begin again
    (folder / "last.safetensors").touch()
    with pytest.raises(InputError, match="holds weights, but no checkpoint to resume from"):
        start_stage(settings, 1, data)


def test_a_run_that_cannot_be_loaded(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1", epochs=1)
    train_both(data, settings)
    with pytest.raises(InputError, match=r"no trained stage 2 here \(stage 1 found\)"):
        load_stage(tmp_path, 2)
    path = tmp_path / "stage1" / "settings.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(InputError, match="format 99, expected 1"):
        load_stage(tmp_path, 1)
    path.write_text(json.dumps(content | {"prediction": content["prediction"] | {"precision": "float7"}}))
    with pytest.raises(InputError, match="precision float7"):
        load_stage(tmp_path, 1)
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match="lacks what prediction needs"):
        load_stage(tmp_path, 1)


def in_the_old_layout(content: dict) -> dict:
    """settings.json as older versions wrote it: without the part for prediction."""
    part = content.pop("prediction")
    return content | {"network": part["network"], "preparation": part["preparation"]}


def test_a_run_from_before_settings_had_a_part_for_prediction(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1", epochs=1)
    train_both(data, settings)
    now = load_stage(tmp_path, 1)
    path = tmp_path / "stage1" / "settings.json"
    content = in_the_old_layout(json.loads(path.read_text()))
    content["network"] = {
        "classes": 2, "skip": "concat", "channels": [2, 3, 4], "norm": "batch", "score_norm": "instance",
        "residual": True,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    before = load_stage(tmp_path, 1)
    assert dataclasses.replace(before, net=now.net) == now
    assert all(torch.equal(a, b) for a, b in zip(before.net.parameters(), now.net.parameters(), strict=True))
    check_folder(settings, 1, data)
    before_augment = {name: value for name, value in content["training"].items() if name != "augment"}
    path.write_text(json.dumps(content | {"training": before_augment}))
    check_folder(settings, 1, data)
    with pytest.raises(InputError, match="--augment was False, is True"):
        check_folder(dataclasses.replace(settings, augment=True), 1, data)
    path.write_text(json.dumps(content | {"network": content["network"] | {"skip": "csca"}}))
    with pytest.raises(InputError, match="network of the data set or the version has changed"):
        check_folder(settings, 1, data)
    path.write_text(json.dumps(content | {"training": content["training"] | {"precision": "float32"}}))
    assert load_stage(tmp_path, 1).precision == "32", "as older runs say it"
    path.write_text(json.dumps(content | {"training": content["training"] | {"precision": "float7"}}))
    with pytest.raises(InputError, match="precision float7"):
        load_stage(tmp_path, 1)
