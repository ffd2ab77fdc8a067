"""Training that is asked for again: what other cases, weights or networks made is not taken for its own."""

import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import SimpleITK as sitk

import ltvs.report.seed_summary
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.preparing import prepare_set
from ltvs.model.systems.transunet import TransUnet
from ltvs.report.seed_summary import results_of, score_test_cases
from ltvs.runtime.command_line import run
from ltvs.runtime.files import read_json, write_json
from ltvs.volume.case import Case
from support.tiny_cases import listed, tiny_case
from support.trained_runs import QUICK, RECIPE, curves_not_drawn, tiny_settings
from train_ltvs import TrainSettings, main


@pytest.fixture
def place(trained_run: Path, tmp_path: Path) -> Path:
    """A data set, and a run with both stages trained on it."""
    for name in ("data", "run"):
        shutil.copytree(trained_run.with_name(name), tmp_path / name)
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, place: Path, output: str, *words: str) -> None:
    flags = ["--data", str(place / "data"), "--output", str(place / output)]
    for name, value in QUICK.items():
        if name == "channels" and "transunet" in words:
            continue  # which it has not
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    monkeypatch.setattr(sys, "argv", ["train_ltvs.py", *flags, *words])
    with curves_not_drawn():
        run(main, TrainSettings)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path, *words: str) -> str:
    before = {path: path.read_bytes() for path in (place / "out").rglob("*.*") if path.is_file()}
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, place, "out", *words)
    assert {path: path.read_bytes() for path in (place / "out").rglob("*.*") if path.is_file()} == before
    return capsys.readouterr().err


def darker(name: str) -> Case:
    case = tiny_case(name)
    return Case(name, sitk.Cast(case.ct - 3, sitk.sitkInt16), case.liver, case.vessel, case.tumor)


def prepared_from_other_cts(data: Path) -> None:
    """The same names, sizes, settings and split."""
    split = read_json(data / "split.json")
    source = listed(**{name: partial(darker, name) for name in ("a", "b")})
    shutil.rmtree(data)
    prepare_set(source, RECIPE, data, 1, lambda patients: {"split.json": split})


@pytest.mark.parametrize("stage", ["1", "2"])
def test_a_run_of_when_a_u_net_was_a_skip(
    place: Path, stage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", stage, "--epochs", "1", *(("--network", "unet3d") if stage == "2" else ()))
    command(monkeypatch, place, "out", *words)
    file = place / "out" / f"stage{stage}" / "settings.json"
    settings = read_json(file)
    del settings["prediction"]["network"]["network"]
    settings["prediction"]["network"] |= {"skip": "concat", "score_norm": "instance", "residual": True}
    for name in ("network", "liver_network", "pretrained"):
        del settings["training"][name]
    if stage == "2":
        settings["training"] |= {"skip": "concat", "score_norm": "mean", "residual": False}
    write_json(file, settings)
    command(monkeypatch, place, "out", *words)
    said = refused(monkeypatch, capsys, place, *words, "--norm", "group")
    assert "--norm was batch, is group" in said
    if stage == "2":
        assert "--network was unet3d, is ucanet" in refused(monkeypatch, capsys, place, *words[:4])


@pytest.mark.slow
def test_a_transunet_that_begins_with_published_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for the loader, whose own tests read files: what it sets is what training begins with."""
    file, read = place / "weights.npz", []
    file.write_bytes(b"once")

    def load(net: TransUnet, path: Path) -> None:
        assert isinstance(net, TransUnet)
        read.append(path.read_bytes())

    monkeypatch.setattr("ltvs.training.run_folder.load_published", load)
    words = ("--stage", "2", "--network", "transunet", "--pretrained", str(file), "--epochs", "1")
    command(monkeypatch, place, "out", *words)
    assert read == [b"once"] * 2, "before anything is written, and to begin with"
    settings = read_json(place / "out/stage2/settings.json")
    assert settings["training"]["pretrained"] == str(file)
    command(monkeypatch, place, "out", *words)
    assert len(read) == 2, "a run that is done needs them no more"
    file.write_bytes(b"other")
    said = refused(monkeypatch, capsys, place, *words)
    assert f"holds a training that began with other weights than those that are in --pretrained {file} now" in said


def test_published_weights_that_are_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "weights.npz"
    file.write_bytes(b"no zip")
    said = refused(monkeypatch, capsys, place, "--stage", "2", "--network", "transunet", "--pretrained", str(file))
    assert said.startswith(f"error: {file}: ")
    assert not (place / "out").exists()
    words = ("--stage", "2", "--network", "transunet", "--pretrained", str(place / "out/stage2/weights.npz"))
    assert "error: " in refused(monkeypatch, capsys, place, *words)


@pytest.mark.parametrize("done", [True, False])
def test_other_cases_under_the_same_names(
    place: Path, done: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", "1", "--epochs", "1")
    if done:
        command(monkeypatch, place, "out", *words)
        # The same data set elsewhere is no other one.
        shutil.move(place / "data", place / "before")
        shutil.copytree(place / "before", place / "data")
        command(monkeypatch, place, "out", *words)
    else:
        with monkeypatch.context() as patch:
            patch.setattr("ltvs.training.loop._Training._end_epoch", interrupt)
            with pytest.raises(SystemExit, match="130"):
                command(monkeypatch, place, "out", *words)
        assert (place / "out/stage1/checkpoints/last.ckpt").is_file()
    prepared_from_other_cts(place / "data")
    capsys.readouterr()
    said = refused(monkeypatch, capsys, place, *words)
    assert "stage1: holds a training with other settings (cases of the data set or the version has changed)" in said
    assert "give the same to resume it, or another --output" in said


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_weights_that_are_not_as_they_were_written(
    place: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", "2", "--epochs", "1")
    command(monkeypatch, place, "out", *words)
    weights, result = place / "out/stage2/best.safetensors", place / "out/stage2/result.json"
    written = weights.read_bytes()
    if damage == "removed":
        weights.unlink()
    else:
        weights.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    capsys.readouterr()
    said = refused(monkeypatch, capsys, place, *words)
    assert "best.safetensors: is missing, or not as the training wrote it; put it back, remove" in said
    assert "to train again, or give another --output" in said
    weights.write_bytes(written)
    command(monkeypatch, place, "out", *words)
    # Runs from before weights were recorded are kept as they are.
    content = read_json(result)
    del content["weights"]
    write_json(result, content)
    command(monkeypatch, place, "out", *words)


def test_other_weights_in_the_run_that_it_began_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--stage", "2", "--epochs", "1", "--init", str(place / "run"))
    command(monkeypatch, place, "out", *words)
    begun_with = place / "run/stage2/best.safetensors"
    shutil.copy(place / "out/stage2/best.safetensors", begun_with)
    capsys.readouterr()
    said = refused(monkeypatch, capsys, place, *words)
    assert "stage2: holds a training that began with other weights than those that are in --init" in said
    begun_with.unlink()
    command(monkeypatch, place, "out", *words)  # the checkpoint has the weights


def test_test_cases_are_scored_again_with_other_networks_or_cases(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, summary = tiny_settings(place / "data", place / "run"), place / "run/test/summary.json"
    scored = []
    label = ltvs.report.seed_summary.Pipeline.label

    def counted(*given: object, **named: object) -> sitk.Image:
        scored.append(given)
        return label(*given, **named)

    monkeypatch.setattr(ltvs.report.seed_summary.Pipeline, "label", counted)

    def times() -> int:
        """How many cases are labeled if it is asked for twice."""
        scored.clear()
        for _ in range(2):
            score_test_cases(place / "run", PreparedSet(place / "data"), "cpu")
        assert "test liver Dice" in results_of(place / "run", settings, PreparedSet(place / "data"))
        return len(scored)

    def stale() -> bool:
        return "test liver Dice" not in results_of(place / "run", settings, PreparedSet(place / "data"))

    assert stale()
    assert (times(), times()) == (1, 0)
    command(monkeypatch, place, "other", "--epochs", "1", "--seed", "7")
    shutil.copy(place / "other/stage1/best.safetensors", place / "run/stage1/best.safetensors")
    assert stale()
    before = summary.read_bytes()
    assert times() == 1
    assert summary.read_bytes() != before
    prepared_from_other_cts(place / "data")
    assert stale()
    assert (times(), times()) == (1, 0)
    (place / "run/test/made_of.json").unlink()
    assert stale()
    assert times() == 1
