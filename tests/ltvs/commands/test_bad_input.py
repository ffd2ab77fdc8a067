"""Mistakes in the input of the command lines: each gives a one-line error and leaves nothing half-done.

Each row makes an input in a folder and says what has to be in the message; the input has to be as it was afterwards.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

import predict_ltvs
import prepare_ltvs
from ltvs.dataset.digests import digest
from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.command_line import run
from ltvs.volume.grids import Grid
from support.bad_inputs import (
    Make,
    color,
    cut,
    is_text,
    leads_out,
    links_out,
    lump,
    mixed_patient,
    moved_liver,
    not_finite,
    over_time,
    own,
    patient,
    put,
    renamed,
    vast,
)
from support.ircadb_layout import write_usual, zipped
from support.messages import rows_for
from support.tiny_cases import tiny_case
from support.volume_file_layouts import write_own

GRIDS = ("--pixels=16", "--slice-spacing=3", "--liver-pixels=16", "--liver-slice-spacing=3", "--workers=1")


PREPARE = [
    ("ltvs", own(cut("ct.nii.gz")), "ct.nii.gz: is cut short"),
    ("ltvs", own(cut("liver.nii")), "liver.nii: is cut short"),
    ("ltvs", own(cut("vessel.nrrd")), "vessel.nrrd: cannot be read as a volume; is it complete?"),
    ("ltvs", own(renamed("ct.nii.gz", "ct.mha")), "ct.mha: cannot be read as a volume"),
    ("ltvs", own(renamed("ct.nii.gz", "ct.txt")), "expected ct (.nii.gz"),
    ("ltvs", own(is_text("ct.nii.gz")), "ct.nii.gz: cannot be read as a volume"),
    ("ltvs", own(lambda folder: shutil.rmtree(folder)), "expected a folder per case"),
    ("ltvs", own(lambda folder: [path.unlink() for path in folder.iterdir()]), "expected ct"),
    ("ltvs", own(put("liver.nii", moved_liver)), "does not lie on the CT"),
    ("ltvs", own(put("tumor.mha", lump)), "voxels of the tumor lie outside the liver; are both masks of this CT?"),
    ("ltvs", own(put("liver.nii", lambda: tiny_case().liver * 0)), "the liver mask is empty"),
    ("ltvs", own(put("ct.nii.gz", not_finite)), "ct.nii.gz: has NaN or infinite voxels"),
    ("ltvs", own(put("ct.nii.gz", color)), "ct.nii.gz: expected one value per voxel, got 3"),
    ("ltvs", own(put("ct.nii.gz", over_time)), "ct.nii.gz: expected a 3D volume, got 4D"),
    ("ltvs", own(put("ct.nii.gz", lambda: tiny_case().ct + 1080)), "a CT without its rescale intercept"),
    ("ltvs", own(put("ct.nii.gz", lambda: sitk.Clamp(tiny_case().ct, sitk.sitkInt16, 0, 255))), "a picture of 8 bits"),
    ("ircadb", patient(mixed_patient), "holds 2 DICOM series"),
    ("ircadb", patient(lambda folder: shutil.rmtree(folder / "PATIENT_DICOM")), "no 3D-IRCADb patient here"),
    ("ircadb", patient(cut("PATIENT_DICOM/image_7")), "image_7: is DICOM but cannot be read, is it cut short?"),
    ("ircadb", lambda folder: cut("3Dircadb1.1.zip")(zipped(write_usual(folder / "3Dircadb1.1")).parent), "as a zip"),
    ("ircadb", leads_out, "3Dircadb1.1.zip: refused, it would write outside its folder (../../evil)"),
    ("ircadb", links_out, "expected one folder PATIENT_DICOM, found none"),
    ("ircadb", vast, "3Dircadb1.1.zip: refused, it unpacks to"),
]  # fmt: skip

#: The input of the command is the path of this name in the folder.
PREDICT = [
    ("case 1/ct.nii.gz", own(cut("ct.nii.gz")), "ct.nii.gz: is cut short"),
    ("case 1/ct.mha", own(renamed("ct.nii.gz", "ct.mha")), "ct.mha: cannot be read as a volume"),
    ("case 1/ct.txt", own(renamed("ct.nii.gz", "ct.txt")), "ct.txt: expected a file that ends in .nii.gz"),
    ("case 1/ct.nii.gz", own(put("ct.nii.gz", not_finite)), "ct.nii.gz: has NaN or infinite voxels"),
    ("case 1/ct.nii.gz", own(put("ct.nii.gz", color)), "ct.nii.gz: expected one value per voxel, got 3"),
    ("case 1/ct.nii.gz", own(put("ct.nii.gz", over_time)), "ct.nii.gz: expected a 3D volume, got 4D"),
    ("empty", lambda folder: (folder / "empty").mkdir(), "empty: no DICOM series found"),
    ("none.nii.gz", lambda folder: None, "none.nii.gz: does not exist"),
    ("3Dircadb1.1/PATIENT_DICOM", patient(mixed_patient), "is one label map, expected one CT as --input; got 2 ("),
    ("3Dircadb1.1/PATIENT_DICOM", patient(cut("PATIENT_DICOM/image_7")), "image_7: is DICOM but cannot be read"),
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for the input whose name has spaces and letters beyond ASCII."""
    folder = tmp_path / "Bürgerspital 北京" / "input"
    folder.mkdir(parents=True)
    return folder


def refused(
    script: str, words: list[str | Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    """Run a command line that has to end with status 2; what it says, without progress bars."""
    monkeypatch.setattr(sys, "argv", [f"{script}_ltvs.py", *map(str, words)])
    module = {"prepare": prepare_ltvs, "predict": predict_ltvs}[script]
    settings = {"prepare": prepare_ltvs.PrepareSettings, "predict": predict_ltvs.PredictSettings}[script]
    with pytest.raises(SystemExit, match="2"):
        run(module.main, settings)
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith(("error: ", "not prepared: "))]
    assert lines[-1].startswith("error: ")
    assert "unexpected" not in said.err, "no reason that we did not foresee"
    assert all(map(rows_for, lines)), "docs/troubleshooting says what helps"
    return "\n".join(lines) + said.out


def listing(folder: Path) -> tuple[list[Path], str | None]:
    return sorted(folder.rglob("*")), digest(folder)


@pytest.mark.parametrize(("source", "make", "message"), PREPARE)
def test_prepare(
    source: str, make: Make, message: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    make(place)
    before, output = listing(place), place.parent / "out"
    words = ["--source", source, "--input", place, "--output", output, *GRIDS]
    assert message in refused("prepare", words, monkeypatch, capsys)
    assert not output.exists()
    assert message in refused("prepare", [*words, "--check"], monkeypatch, capsys), "both say the same"
    assert listing(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["input"]
    assert not list(place.parent.parent.rglob("evil"))


@pytest.mark.parametrize(("name", "make", "message"), PREDICT)
def test_predict(
    name: str, make: Make, message: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    make(place)
    before = listing(place)
    words = ["--input", place / name, "--run", place.parent / "run", "--output", place.parent / "seg.nii.gz"]
    assert message in refused("predict", [*words, "--device=cpu"], monkeypatch, capsys)
    assert listing(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["input"]


@pytest.mark.skipif(sys.platform == "win32", reason="names of files hold no line breaks on Windows")
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_name_with_a_line_break_is_told_in_one_line(
    check: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    own(cut("ct.nii.gz"))(place)
    (place / "case 1").rename(place / "case\n1")
    words = ["--source=ltvs", "--input", place, "--output", place.parent / "out", *GRIDS, *check]
    said = refused("prepare", words, monkeypatch, capsys)
    (line,) = (line for line in said.splitlines() if "is cut short" in line or "cannot be read" in line)
    assert r"case\n1/ct.nii.gz: " in line


def test_a_good_case_beside_bad_ones_and_names_of_any_kind(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    own(cut("ct.nii.gz"))(place)
    write_own(place / "Größe 肝臓", tiny_case("good"))
    words = ["--source=ltvs", "--input", place, "--output", place.parent / "out ü", *GRIDS]
    said = refused("prepare", words, monkeypatch, capsys)
    assert "not prepared: case 1: " in said
    assert "1 of 2 cases could not be prepared" in said
    assert PreparedSet(place.parent / "out ü").cases == ("Größe 肝臓",)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds 64 KiB; where none can be mounted, files may have no more."""
    folder, limit = tmp_path / "disk", 1 << 16
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={limit}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def noisy(case_labels: sitk.Image, values: int) -> sitk.Image:
    """Does not compress."""
    noise = np.random.default_rng(0).integers(0, values, sitk.GetArrayViewFromImage(case_labels).shape)
    return Grid.of(case_labels).place(sitk.GetImageFromArray(noise.astype(np.int16)))


def test_prepare_onto_a_full_disk(
    place: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    case = tiny_case()
    write_own(place / "case 1", replace(case, ct=sitk.Cast(case.ct, sitk.sitkInt16) + noisy(case.ct, 40)))
    grids = [word.replace("=16", "=99") for word in GRIDS]
    for output in (small_disk / "out", small_disk):
        words = ["--source=ltvs", "--input", place, "--output", output, *grids]
        said = refused("prepare", words, monkeypatch, capsys)
        assert "No space left on device" in said or "File too large" in said or "is the disk full?" in said
        assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_predict_onto_a_full_disk(
    place: Path, small_disk: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_own(place / "case 1", tiny_case())
    large = sitk.Cast(noisy(sitk.Image(90, 80, 70, sitk.sitkUInt8), 256), sitk.sitkUInt8)
    found = SimpleNamespace(labels=large, bodies=())
    pipeline = SimpleNamespace(load=lambda *_, **__: SimpleNamespace(find=lambda *_, **__: found))
    monkeypatch.setattr("ltvs.prediction.one_case.Pipeline", pipeline)
    monkeypatch.setattr("ltvs.prediction.one_case.measure", lambda _: None)
    monkeypatch.setattr("ltvs.prediction.one_case.find_doubts", lambda *_: ())
    output = small_disk / f"seg{suffix}"
    words = ["--input", place / "case 1/ct.nii.gz", "--run", place, "--output", output, "--device=cpu"]
    said = refused("predict", words, monkeypatch, capsys)
    assert f"seg{suffix}: cannot be written" in said
    assert "is the disk full?" in said
    assert list(small_disk.iterdir()) == []


def without_privileges() -> list[str]:
    """Return the words before a command that make permissions hold for it, even for root."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and there is no setpriv to take that away")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("prepare", ["--source=ltvs", "--input={place}", "--output={out}", *GRIDS]),
        ("predict", ["--input={place}/case 1/ct.nii.gz", "--run=run", "--output={out}.nii.gz"]),
    ],
)
def test_what_must_not_be_read(script: str, words: list[str], place: Path) -> None:
    before = without_privileges()
    write_own(place / "case 1", tiny_case())
    out, ct = place.parent / "out", place / "case 1" / "ct.nii.gz"
    ct.chmod(0)
    module = {"prepare": prepare_ltvs, "predict": predict_ltvs}[script]
    command = [*before, sys.executable, str(module.__file__), *(word.format(place=place, out=out) for word in words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "ct.nii.gz: cannot be read" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in place.parent.iterdir()] == ["input"]
