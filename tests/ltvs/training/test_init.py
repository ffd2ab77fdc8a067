"""A training that begins with the weights of another run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import train_ltvs
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.preparing import prepare_set
from ltvs.dataset.provenance import Recipe
from ltvs.model.saved import stage_folder
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json, write_json
from ltvs.sources.phantom import phantoms
from ltvs.training.run_folder import check_folder, start_network
from ltvs.training.settings import TrainSettings
from support.trained_runs import curves_not_drawn, tiny_settings, train_both


@pytest.fixture
def given(trained_run: Path, tmp_path: Path) -> Path:
    """A run to begin with."""
    return shutil.copytree(trained_run, tmp_path / "given")


@pytest.fixture
def data(trained_run: Path) -> PreparedSet:
    return PreparedSet(trained_run.parent / "data")


def change(run: Path, stage: int, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change what a run says of itself."""
    path = run / f"stage{stage}" / "settings.json"
    content = read_json(path)
    edit(content["prediction"])
    write_json(path, content)


def train(settings: TrainSettings) -> None:
    with curves_not_drawn():
        train_ltvs.main(settings)


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_each_stage_begins_with_the_best_weights_of_the_run(data: PreparedSet, given: Path, tmp_path: Path) -> None:
    before = files(given)
    settings = tiny_settings(data.folder, tmp_path / "run", init=given, learning_rate=1e-30, epochs=1)
    train(settings)
    for stage in (1, 2):
        weights = load_file(stage_folder(given, stage) / "best.safetensors")
        net, warning = start_network(tiny_settings(data.folder, tmp_path / "new", init=given), stage, data)
        assert warning == ""
        assert net.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
        trained = load_file(stage_folder(tmp_path / "run", stage) / "last.safetensors")
        assert all(torch.equal(trained[name], weights[name]) for name, _ in net.named_parameters())
        assert read_json(stage_folder(tmp_path / "run", stage) / "settings.json")["training"]["init"] == str(given)
    assert files(given) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (2, 3, 5)}, "a stage 1 with channels 2 3 5; got channels 2 3 4; give --channels 2 3 4"),
        ({"norm": "instance"}, "a stage 1 with norm instance; got norm batch; give --norm batch"),
        ({"residual": False, "stage": "2"}, "a stage 2 with residual False; got residual True; give --residual"),
        (
            {"network": "unet3d", "stage": "2"},
            "a stage 2 with network unet3d; got network ucanet; give --network ucanet",
        ),
        (
            {"liver_network": "ucanet"},
            "a stage 1 with network ucanet; got network unet3d; give --liver-network unet3d",
        ),
        (
            {"skip": "cca", "score_norm": "mean", "stage": "2"},
            "a stage 2 with skip cca, score_norm mean; got skip csca, score_norm instance; "
            "give --skip csca --score-norm instance",
        ),
    ],
)
def test_another_network(
    data: PreparedSet, given: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=f"--init {given}: expected {message}$"):
        train(tiny_settings(data.folder, tmp_path / "run", init=given, **changes))
    assert not (tmp_path / "run").exists()


def test_a_network_without_the_residual(data: PreparedSet, tmp_path: Path) -> None:
    train_both(data, tiny_settings(data.folder, tmp_path / "plain", stage="2", residual=False, epochs=1))
    with pytest.raises(InputError, match=r"with residual True; got residual False; give --no-residual$"):
        train(tiny_settings(data.folder, tmp_path / "run", stage="2", init=tmp_path / "plain"))


def test_other_classes(data: PreparedSet, given: Path, tmp_path: Path) -> None:
    shutil.rmtree(given / "stage1")
    shutil.copytree(given / "stage2", given / "stage1")
    with pytest.raises(
        InputError, match=r"a stage 1 with classes 2, network unet3d; got classes 3, network ucanet; begin with another"
    ):
        train(tiny_settings(data.folder, tmp_path / "run", init=given))


def test_a_run_without_the_stage(data: PreparedSet, given: Path, tmp_path: Path) -> None:
    shutil.rmtree(given / "stage2")
    with pytest.raises(InputError, match=r"given: no trained stage 2 here \(stage 1 found\)"):
        train(tiny_settings(data.folder, tmp_path / "run", init=given))
    assert not (tmp_path / "run").exists(), "found out before stage 1 is trained"


def test_a_run_that_is_damaged(data: PreparedSet, given: Path, tmp_path: Path) -> None:
    change(given, 1, lambda prediction: prediction.pop("preparation"))
    with pytest.raises(InputError, match=r"settings\.json: lacks what prediction needs .KeyError.'preparation'"):
        train(tiny_settings(data.folder, tmp_path / "run", init=given))


def test_another_window(data: PreparedSet, given: Path, tmp_path: Path) -> None:
    change(given, 2, lambda prediction: prediction["preparation"].update(window=[-100, 300.5]))
    message = (
        "expected stage 2 to have seen -160 to 240 HU, as the data set is prepared; got -100 to 300.5 HU; "
        "prepare the data set with --window -100 300.5"
    )
    with pytest.raises(InputError, match=f"--init {given}: {message}$"):
        train(tiny_settings(data.folder, tmp_path / "run", init=given))


def test_other_grids_are_worth_a_warning(
    data: PreparedSet, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for stage in (1, 2):
        grids = {"stage1": {"pixels": 32, "slice_spacing": 3.0}, "margin": 4.5}
        change(given, stage, lambda prediction, grids=grids: prediction["preparation"].update(grids))
    train(tiny_settings(data.folder, tmp_path / "run", init=given, epochs=1, seeds=2))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert said == [
        f"warning: --init {given}: stage 1 was trained on other grids (--pixels was 32, is 16)",
        f"warning: --init {given}: stage 2 was trained on other grids (--margin was 4.5, is 4)",
    ]


def test_a_seed_is_not_trained_into_the_run_that_it_begins_with(data: PreparedSet, given: Path) -> None:
    before = files(given)
    given.rename(given.with_name("seed1"))
    with pytest.raises(InputError, match="--init: expected another run than --output"):
        train(tiny_settings(data.folder, given.parent, init=given.with_name("seed1"), seeds=2))
    given.with_name("seed1").rename(given)
    assert files(given) == before


def test_resumed_without_the_run_that_it_began_with(
    data: PreparedSet, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shutil.copytree(given, tmp_path / "kept")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    settings = {name: tiny_settings(data.folder, tmp_path / name, stage="2", init=given) for name in ("whole", "run")}
    train(settings["whole"])
    with monkeypatch.context() as patch:
        patch.setattr("ltvs.training.loop.validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings["run"])
    shutil.rmtree(given)
    with pytest.raises(InputError, match=rf"other settings \(--init was {given}, is {kept}\); give the same to resume"):
        train(tiny_settings(data.folder, tmp_path / "run", stage="2", init=kept))
    with pytest.raises(InputError, match=rf"other settings \(--init was {given}, is None\)"):
        train(tiny_settings(data.folder, tmp_path / "run", stage="2"))
    train(settings["run"])
    first, second = ((tmp_path / name / "stage2" / "last.safetensors").read_bytes() for name in settings)
    assert first == second
    train(settings["run"])  # is done


def test_a_run_from_before_these_options_is_resumed(data: PreparedSet, tmp_path: Path) -> None:
    settings = tiny_settings(data.folder, tmp_path, stage="1", epochs=1)
    train_both(data, settings)
    path = tmp_path / "stage1" / "settings.json"
    content = json.loads(path.read_text())
    assert [content["training"].pop(name) for name in ("init", "clip_norm", "ema")] == [None, 0, 0]
    write_json(path, content)
    check_folder(settings, 1, data)
    train(tiny_settings(data.folder, tmp_path / "new", stage="1", epochs=1, init=tmp_path))
    with pytest.raises(InputError, match=r"other settings \(--ema was 0\.0, is 0\.9\)"):
        check_folder(tiny_settings(data.folder, tmp_path, stage="1", epochs=1, ema=0.9), 1, data)


@pytest.mark.slow
def test_a_few_epochs_bring_further_than_from_new_weights(tmp_path: Path) -> None:
    """The same epochs on one phantom, validated on another; the run was trained on a third."""
    grid = StageGrid(32, 8.0)
    source = phantoms(3, 1, 64, 8.0, None)
    theirs, own, other = source
    splits = {
        "theirs.json": {"train": [theirs], "validation": [theirs], "test": []},
        "split.json": {"train": [own], "validation": [other], "test": []},
    }
    recipe = Recipe({"kind": "phantom"}, Preparation((-160.0, 240.0), grid, grid, 10.0), "phantom")
    prepare_set(source, recipe, tmp_path / "data", 1, lambda _: splits)

    def dice(name: str, epochs: int, **changes: object) -> float:
        common = {"patch": (8, 32, 32), "overlap": (4, 0, 0), "channels": (4, 8, 16), "norm": "instance"}
        changes |= {"stage": "1", "loss": "dice_ce", "epochs": epochs, "validate_every": epochs}
        train(tiny_settings(tmp_path / "data", tmp_path / name, **common, **changes))
        return read_json(tmp_path / name / "stage1" / "result.json")["dice"]

    assert dice("run", 30, split=Path("theirs.json")) > 0.8
    assert dice("tuned", 3, init=tmp_path / "run") > dice("scratch", 3) + 0.2
