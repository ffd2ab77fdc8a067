"""What is no CT in HU is refused by every command that reads one, before anything is written; --force takes it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import predict_ltvs
import prepare_ltvs
from ltvs.bundle.entry_points import label_file
from ltvs.dataset.layout import PreparedSet
from ltvs.model.saved import load_stage
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_labels, write_volume
from support.ircadb_layout import write_series, write_usual
from support.tiny_cases import tiny_case
from support.volume_file_layouts import write_own

GRIDS = ("--pixels=16", "--slice-spacing=3", "--liver-pixels=24", "--liver-slice-spacing=1.5", "--workers=1")
LABELED = ("--device", "cpu", "--smallest-liver", "0")


def changed(change: Callable[[np.ndarray], np.ndarray], kind: type = np.int16) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        ct = tiny_case("a").ct
        hu = change(sitk.GetArrayFromImage(ct).astype(float)).astype(kind)
        write_volume(Grid.of(ct).place(sitk.GetImageFromArray(hu)), folder / "ct.nii.gz")
        return "ct.nii.gz"

    return write


def of_modality(modality: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        write_series(folder / "series", tiny_case("a").ct, Modality=modality)
        return "series"

    return write


#: What is written, and what is said.
NO_CT = {
    "stored values": (changed(lambda hu: hu + 1024, np.uint16), "are below 0 HU; it may be an MR volume, or"),
    "0 to 1": (changed(lambda hu: (hu + 1000) / 2000, np.float32), "a picture of 8 bits or a label map"),
    "8 bits": (changed(lambda hu: np.clip(hu, 0, 255), np.uint8), "a picture of 8 bits or a label map"),
    "scaled": (changed(lambda hu: hu / 10, np.float32), "without air, which is below -150 HU; was it scaled"),
    "inverted": (changed(lambda hu: -hu), "without air, which is below -150 HU; was it scaled, or is it no CT?"),
    "an MR series": (of_modality("MR"), "expected a series of Modality CT, got MR"),
    "a PET series": (of_modality("PT"), "expected a series of Modality CT, got PT"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_CT)
def test_prediction(
    what: str, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, message = NO_CT[what]
    name = write(tmp_path)
    words = ["predict_ltvs.py", "--input", name, "--run", str(trained_run), "--output", "seg.nii.gz", *LABELED]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="2"):
        run(predict_ltvs.main, predict_ltvs.PredictSettings)
    said = capsys.readouterr().err
    assert said.startswith(f"error: {name}: ")
    assert message in said
    assert "--force" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]

    stages = load_stage(trained_run, 1), load_stage(trained_run, 2)
    with pytest.raises(InputError, match="--force"):
        label_file(name, "seg.nii.gz", *stages, "cpu", 0.0)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_prediction_of_what_a_person_knows_better(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CT whose header says that it is none is labeled as the same CT is that says nothing."""
    monkeypatch.chdir(tmp_path)
    write_volume(tiny_case("a").ct, Path("ct.nii.gz"))
    name = of_modality("MR")(tmp_path)
    for source, output, force in (("ct.nii.gz", "usual.nii.gz", []), (name, "forced.nii.gz", ["--force"])):
        words = ["--input", source, "--run", str(trained_run), "--output", output, *LABELED, *force]
        monkeypatch.setattr(sys, "argv", ["predict_ltvs.py", *words])
        run(predict_ltvs.main, predict_ltvs.PredictSettings)
    usual, forced = (sitk.GetArrayFromImage(read_labels(Path(f"{name}.nii.gz"))) for name in ("usual", "forced"))
    assert usual.any()
    np.testing.assert_array_equal(forced, usual)
    stages = load_stage(trained_run, 1), load_stage(trained_run, 2)
    label_file(name, "bundle.nii.gz", *stages, "cpu", 0.0, force=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_labels(Path("bundle.nii.gz"))), usual)


def test_a_bundle_keeps_its_input_and_what_is_there(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tiny_case("a").ct, Path("ct.nii.gz"))
    Path("seg.nii.gz").write_text("somebody's work")
    stages, before = (load_stage(trained_run, 1), load_stage(trained_run, 2)), Path("ct.nii.gz").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"ct\.nii\.gz: is --input itself, which is never written to"):
            label_file("ct.nii.gz", "ct.nii.gz", *stages, "cpu", 0.0, overwrite=overwrite)
    with pytest.raises(InputError, match=r"seg\.nii\.gz: exists already; .* or --overwrite to replace it"):
        label_file("ct.nii.gz", "seg.nii.gz", *stages, "cpu", 0.0)
    assert Path("ct.nii.gz").read_bytes() == before
    label_file("ct.nii.gz", "seg.nii.gz", *stages, "cpu", 0.0, overwrite=True)
    assert sitk.GetArrayFromImage(read_labels(Path("seg.nii.gz"))).any()


def prepare(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare_ltvs.py", *words, *GRIDS])
    run(prepare_ltvs.main, prepare_ltvs.PrepareSettings)


@pytest.mark.parametrize("what", ["stored values", "0 to 1", "scaled"])
def test_preparation(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write, message = NO_CT[what]
    write(write_own(Path("in/a"), tiny_case("a")))
    words = ("--source", "ltvs", "--input", "in")
    for last in (("--output", "out"), ("--check",)):
        with pytest.raises(SystemExit, match="2"):
            prepare(monkeypatch, *words, *last)
        said = capsys.readouterr()
        assert message in said.out + said.err
        assert "--force takes it as it is" in said.out + said.err
        assert not Path("out").exists()
    prepare(monkeypatch, *words, "--check", "--force")
    assert "1 with warnings, 0 with errors" in capsys.readouterr().out
    prepare(monkeypatch, *words, "--output", "out", "--force")
    assert PreparedSet(Path("out")).cases == ("a",)
    assert "warning: these cases have warnings" in capsys.readouterr().out
    assert read_json(Path("out/stage2/a/case.json"))["recipe"]["force"] is True
    with pytest.raises(SystemExit, match="2"):
        prepare(monkeypatch, *words, "--output", "out")
    assert message in capsys.readouterr().err, "what was forced does not pass for checked"


def test_preparation_of_another_modality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    patient = write_usual(Path("in/3Dircadb1.1"))
    shutil.rmtree(patient / "PATIENT_DICOM")
    write_series(patient / "PATIENT_DICOM", tiny_case().ct, Modality="MR")
    write_own(Path("own/a"), tiny_case("a"), (".mha", ".nii", ".nrrd", ".mha"))
    content = Path("own/a/ct.mha").read_bytes()
    Path("own/a/ct.mha").write_bytes(content.replace(b"ElementSpacing", b"Modality = MET_MOD_MR\nElementSpacing", 1))
    for source, folder in (("ircadb", "in"), ("ltvs", "own")):
        words = ("--source", source, "--input", folder, "--output", f"out {source}")
        with pytest.raises(SystemExit, match="2"):
            prepare(monkeypatch, *words)
        assert "expected a series of Modality CT, got MR" in capsys.readouterr().err
        prepare(monkeypatch, *words, "--force")
        assert len(PreparedSet(Path(f"out {source}")).cases) == 1


@pytest.mark.slow
def test_as_a_shell_runs_it(tmp_path: Path) -> None:
    """With the networks that come with the examples, which would find a liver in stored values."""
    write, message = NO_CT["stored values"]
    words = [sys.executable, str(predict_ltvs.__file__), "--input", write(tmp_path), "--output", "seg.nii.gz"]
    done = subprocess.run([*words, "--device", "cpu"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]
