"""Every command keeps its inputs, by whatever path they are given as output, and replaces outputs only if asked.

The commands are called as a shell calls them, but in this process.
"""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import demo
import demo_train
import evaluate_ltvs
import export_onnx
import make_bundle
import make_networks
import predict_ltvs
import prepare_ltvs
import ship_networks
import train_ltvs
from ltvs.dataset.one_case import compose_labels
from ltvs.model.shipping import SHIPPED
from ltvs.volume.images import read_labels, write_volume
from support.ircadb_layout import write_series
from support.tiny_cases import tiny_case
from support.volume_file_layouts import write_own

Contents = dict[str, bytes | None]

PREDICT = ("--input", "ct.nii.gz", "--run", "run", "--device", "cpu", "--smallest-liver", "1", "--output")
PREDICT_SERIES = ("--input", "series", *PREDICT[2:])
EVALUATE = ("--prediction", "predictions", "--reference", "references", "--output")
EVALUATE_FILES = ("--prediction", "labels.nii.gz", "--reference", "truth.nii.gz", "--output")
EXPORT = ("--run", "run", "--output")
BUNDLE = ("--run", "run", "--output")
SHIP = ("--run", "networks", "--overwrite", "--output")
PREPARE = ("--source", "ltvs", "--input", "cohort/in", "--output")
PREPARE_TO = ("--source", "ltvs", "--input", "cohort/in", "--output", "new", "--export-nnunet")
TRAIN = ("--data", "data", "--device", "cpu", "--output")
INIT = ("--data", "data", "--device", "cpu", "--init", "run", "--output")
NEVER = "which is never written to; give another --output"
EXAMPLES = "is inside the folder of the networks that come with the examples"
WITHIN = "which is never written to; give another folder"


@pytest.fixture
def place(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The inputs of all commands, in the folder that they run in."""
    case = tiny_case("a")
    write_volume(case.ct, tmp_path / "ct.nii.gz")
    for name in ("labels.nii.gz", "truth.nii.gz", "predictions/a.nii.gz", "references/a.nii.gz"):
        write_volume(compose_labels(case), tmp_path / name)
    write_series(tmp_path / "series", case.ct)
    write_own(tmp_path / "cohort" / "in" / "a", case)
    shutil.copytree(trained_run, tmp_path / "run")
    shutil.copytree(trained_run.with_name("data"), tmp_path / "data")
    ship_networks.main(ship_networks.ShipSettings(tmp_path / "run", tmp_path / "networks"))
    (tmp_path / "run" / "stage2" / "net.onnx").write_text("an input")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> Contents:
    """All files, and all folders and links."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if ".lock" not in path.name
    }


def ended(module: ModuleType, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command and return its status."""
    monkeypatch.setattr(sys, "argv", [str(module.__file__), *words])
    try:
        runpy.run_path(str(module.__file__), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def link(name: str, target: str) -> Callable[[], None]:
    return lambda: Path(name).symlink_to(target)


def hard_link(name: str, target: str) -> Callable[[], None]:
    return lambda: os.link(target, name)


def folder(name: str) -> Callable[[], None]:
    return lambda: Path(name).mkdir()


def file(name: str) -> Callable[[], None]:
    def write() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("somebody's work")

    return write


def linked_folder(name: str, target: str) -> Callable[[], None]:
    def write() -> None:
        Path(name).parent.mkdir()
        Path(name).symlink_to(target)

    return write


def nothing() -> None:
    return None


#: Command, words, the output, what is done before, and what is said.
INPUTS = [
    (predict_ltvs, PREDICT, "ct.nii.gz", nothing, f"ct.nii.gz: is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "data/../ct.nii.gz", nothing, f"is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "a.nii.gz", link("a.nii.gz", "ct.nii.gz"), f"is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "a.nii.gz", hard_link("a.nii.gz", "ct.nii.gz"), f"is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "seg.nii.gz", link("seg.png", "ct.nii.gz"), f"seg.png: is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "seg.nii.gz", hard_link("seg.png", "ct.nii.gz"), f"seg.png: is --input itself, {NEVER}"),
    (predict_ltvs, PREDICT, "run/stage1/curves.nii.gz", nothing, f"is inside stage 1 of run, {WITHIN}"),
    (predict_ltvs, PREDICT, "seg.mha", hard_link("seg.png", "run/stage2/best.safetensors"), "is best.safetensors of"),
    (predict_ltvs, PREDICT_SERIES, "series/labels.nii.gz", nothing, f"is inside --input, {WITHIN}"),
    (predict_ltvs, PREDICT_SERIES, "a.mha", hard_link("a.mha", "series/image_3"), f"is image_3 of --input, {NEVER}"),
    (predict_ltvs, PREDICT_SERIES, "link/a.mha", link("link", "series"), f"is inside --input, {WITHIN}"),
    (evaluate_ltvs, EVALUATE, "predictions", nothing, f"is inside --prediction, {WITHIN}"),
    (evaluate_ltvs, EVALUATE, "references/scores", nothing, f"is inside --reference, {WITHIN}"),
    (evaluate_ltvs, EVALUATE, "link", link("link", "references"), f"is inside --reference, {WITHIN}"),
    (evaluate_ltvs, EVALUATE_FILES, ".", hard_link("summary.json", "truth.nii.gz"), f"is --reference itself, {NEVER}"),
    (export_onnx, EXPORT, "run/stage2/net.onnx", nothing, f"is inside stage 2 of run, {WITHIN}"),
    (export_onnx, EXPORT, "a.onnx", hard_link("a.onnx", "run/stage2/best.safetensors"), "is best.safetensors of"),
    (make_bundle, BUNDLE, "run", nothing, "expected a folder of a bundle to replace, got run/"),
    (make_bundle, BUNDLE, "run/bundle", nothing, f"is inside --run, {WITHIN}"),
    (make_bundle, BUNDLE, "link/bundle", link("link", "run"), f"is inside --run, {WITHIN}"),
    (make_bundle, BUNDLE, ".", nothing, "expected a folder of a bundle to replace"),
    (ship_networks, SHIP, "networks", nothing, f"networks: is inside --run, {WITHIN}"),
    (ship_networks, SHIP, "networks/stage1", nothing, f"is inside --run, {WITHIN}"),
    (prepare_ltvs, PREPARE, "cohort/in", nothing, f"is inside --input, {WITHIN}"),
    (prepare_ltvs, PREPARE, "cohort/in/new", nothing, f"is inside --input, {WITHIN}"),
    (prepare_ltvs, PREPARE, "cohort", nothing, f"cohort: --input is inside, {WITHIN}"),
    (prepare_ltvs, PREPARE, "link", link("link", "cohort/in"), f"is inside --input, {WITHIN}"),
    (prepare_ltvs, PREPARE, "out", linked_folder("out/images", "../cohort/in"), "out/images: is inside --input, "),
    (prepare_ltvs, PREPARE, "mine", file("mine/images/a.nii.gz"), "holds images/a.nii.gz, but no prepared data set"),
    (prepare_ltvs, PREPARE_TO, "cohort/in/Dataset501_A", nothing, f"is inside --input, {WITHIN}"),
    (prepare_ltvs, PREPARE_TO, "new/Dataset501_A", nothing, f"is inside --output, {WITHIN}"),
    (train_ltvs, TRAIN, "data", nothing, "data: is a prepared data set, not a run; give another --output"),
    (train_ltvs, TRAIN, "data/run", nothing, f"is inside --data, {WITHIN}"),
    (train_ltvs, TRAIN, "link", link("link", "data"), "link: is a prepared data set"),
    (train_ltvs, TRAIN, "new", linked_folder("new/stage1", "../data"), f"new/stage1: is inside --data, {WITHIN}"),
    (train_ltvs, INIT, "run/stage1", nothing, f"is inside stage 1 of run, {WITHIN}"),
    (demo, ("--output",), str(SHIPPED), nothing, f"{EXAMPLES}, {WITHIN}"),
    (demo_train, ("--output",), str(SHIPPED / "demo"), nothing, f"{EXAMPLES}, {WITHIN}"),
    (make_networks, ("--output",), str(SHIPPED.parent), nothing, f"{EXAMPLES}, {WITHIN}"),
]  # fmt: skip

#: Of the commands with --overwrite: an input is not replaced with it, either.
OVERWRITING = (predict_ltvs, evaluate_ltvs, export_onnx, make_bundle)


@pytest.mark.parametrize(("module", "words", "output", "before", "message"), INPUTS)
def test_an_input_is_never_written_to(
    module: ModuleType, words: tuple[str, ...], output: str, before: Callable[[], None], message: str,
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before()
    there, shipped = contents(place), contents(SHIPPED)
    asked = ("--overwrite",) if module in OVERWRITING else ()
    assert ended(module, (*words, output, *asked), monkeypatch) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert contents(place) == there
    assert contents(SHIPPED) == shipped


#: Outputs that are there, and whether --overwrite replaces them.
EXISTING = [
    (predict_ltvs, PREDICT, "seg.nii.gz", file("seg.nii.gz"), True),
    (predict_ltvs, PREDICT, "seg.nii.gz", file("seg.png"), True),
    (predict_ltvs, PREDICT, "seg.nii.gz", link("seg.nii.gz", "nowhere"), True),
    (predict_ltvs, PREDICT, "seg.nii.gz", link("seg.nii.gz", "truth.nii.gz"), True),
    (predict_ltvs, PREDICT, "seg.nii.gz", folder("seg.nii.gz"), False),
    (predict_ltvs, PREDICT, "seg.nii.gz", folder("seg.png"), False),
    (predict_ltvs, PREDICT, "truth.nii.gz/seg.nii.gz", nothing, False),
    (evaluate_ltvs, EVALUATE, "out", file("out/cases.csv"), True),
    (evaluate_ltvs, EVALUATE, "out", file("out/summary.json"), True),
    (evaluate_ltvs, EVALUATE, "out", file("out"), False),
    (evaluate_ltvs, EVALUATE, "out", link("out", "nowhere"), False),
    (export_onnx, EXPORT, "net.onnx", file("net.onnx"), True),
    (export_onnx, EXPORT, "run/net.onnx", file("run/net.onnx"), True),
    (export_onnx, EXPORT, "net.onnx", link("net.onnx", "nowhere"), True),
    (export_onnx, EXPORT, "net.onnx", folder("net.onnx"), False),
    (make_bundle, BUNDLE, "bundle", lambda: make_bundle.make_bundle(Path("run"), Path("bundle"), "", ""), True),
    (make_bundle, BUNDLE, "bundle", folder("bundle"), True),
    (make_bundle, BUNDLE, "bundle", file("bundle/thesis.tex"), False),
    (make_bundle, BUNDLE, "bundle", file("bundle"), False),
    (make_bundle, BUNDLE, "bundle", link("bundle", "nowhere"), False),
    (make_bundle, BUNDLE, "bundle", link("bundle", "data"), False),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("module", "words", "output", "before", "replaces"), EXISTING)
def test_an_output_that_exists(
    module: ModuleType, words: tuple[str, ...], output: str, before: Callable[[], None], replaces: bool,
    place: Path, unchecked: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before()
    there = contents(place)
    assert ended(module, (*words, output), monkeypatch) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert ("--overwrite to replace it" in said.err) or not replaces
    assert said.out == "", "nothing was begun"
    assert contents(place) == there

    assert ended(module, (*words, output, "--overwrite"), monkeypatch) == (0 if replaces else 2)
    said = capsys.readouterr()
    after = contents(place)
    if replaces:
        assert "somebody's work" not in str(after.values())
        assert any(after.get(name) != content for name, content in there.items()) or after.keys() != there.keys()
        changed = {name for name in {**there, **after} if there.get(name) != after.get(name)}
        stem = Path(output).name.split(".")[0]
        assert all(stem in name for name in changed), "what a link led to is as it was"
    else:
        assert said.err.startswith("error: ")
        assert after == there


def test_the_label_map_takes_the_place_of_a_link(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("seg.nii.gz").symlink_to("truth.nii.gz")
    before = Path("truth.nii.gz").read_bytes()
    assert ended(predict_ltvs, (*PREDICT, "seg.nii.gz", "--overwrite"), monkeypatch) == 0
    assert not Path("seg.nii.gz").is_symlink()
    assert Path("truth.nii.gz").read_bytes() == before
    read_labels(Path("seg.nii.gz"))


def test_as_a_shell_runs_it(place: Path) -> None:
    before = contents(place)
    words = [sys.executable, str(predict_ltvs.__file__), *PREDICT, "ct.nii.gz"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: ct.nii.gz: is --input itself, {NEVER}\n"
    assert contents(place) == before
