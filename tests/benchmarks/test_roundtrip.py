"""The round trip of real labels keeps what is asked of it, and the benchmark that measures it does what it says."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks.pages import replaced
from benchmarks.roundtrip import __main__ as command
from benchmarks.roundtrip import tables
from benchmarks.roundtrip.measure import dice_and_time, peak_memory
from benchmarks.roundtrip.simpleitk_calls import prepare_barely
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.images import same_grid
from support.ircadb_layout import write_usual, zipped
from support.tiny_cases import grid, tiny_case


@pytest.fixture
def result() -> dict:
    return json.loads(tables.RESULT.read_text())


def test_the_bare_calls_write_all_that_is_used(tmp_path: Path) -> None:
    patient = write_usual(tmp_path / "3Dircadb1.17")
    (tmp_path / "out").mkdir()
    finer = Grid((40, 41, 42), (0.9, 0.9, 1.0), grid().origin, grid().direction)
    prepare_barely(patient, (finer, grid()), -160.0, tmp_path / "out")
    names = ["ct", *(f"mask{m}" for m in range(5))]  # two tumors, liver, two vessels; no artery, no adrenal tumor
    expected = {f"{name}.nii.gz" for name in names}
    expected |= {f"ct{g}.nii" for g in (0, 1)} | {f"mask{m}-{g}.nii" for m in range(5) for g in (0, 1)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    own, resampled = (sitk.ReadImage(str(tmp_path / "out" / name)) for name in ("ct.nii.gz", "ct0.nii"))
    assert same_grid(own, tiny_case().ct)
    assert resampled.GetSize() == finer.size
    np.testing.assert_array_equal(sitk.GetArrayFromImage(own), sitk.GetArrayFromImage(tiny_case().ct))


def test_a_patient_is_measured(tmp_path: Path) -> None:
    report = dice_and_time(zipped(write_usual(tmp_path / "3Dircadb1.17"), "3Dircadb1.17/"), rounds=2)
    assert report["case"] == "ircadb-17"
    assert all(0.97 < dice <= 1 for stage in report["dice"].values() for dice in stage.values())
    assert report["seconds"]["bare"]["calls"] == report["seconds"]["prepare"]["calls"] == 2
    assert report["ratio"] == report["seconds"]["prepare"]["median"] / report["seconds"]["bare"]["median"] > 0
    assert report["processor_seconds"]["bare"] > 0


def test_a_system_that_does_not_say_what_a_child_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.wait4")
    with pytest.raises(RuntimeError, match=r"peak_and_output: expected a system that says what a child has held; got "):
        peak_memory(tmp_path)


@pytest.mark.slow
def test_memory_is_that_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"failed: .*no 3D-IRCADb patient here"):
        peak_memory(tmp_path)
    assert 50e6 < peak_memory(write_usual(tmp_path / "3Dircadb1.17")) < 4e9


def test_what_is_missed_is_said(result: dict) -> None:
    result["dice"]["1"]["vessel"], result["ratio"], result["peak_bytes"] = 0.919, 1.51, 2**31
    vessel, time, memory = tables.missed(result)[-3:]
    assert "vessel Dice on whole slices, 320 x 320, 1 mm: 0.9190, expected at least 0.92" in vessel
    assert "1.51 times the bare calls" in time
    assert "2.00 GiB" in memory


def test_an_input_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["roundtrip", "--input", str(tmp_path / "nowhere.zip")])
    with pytest.raises(SystemExit):
        command.main()
    assert "nowhere.zip: does not exist" in capsys.readouterr().err


def test_the_docs_show_the_results(result: dict) -> None:
    page = tables.PAGE.read_text()
    assert replaced(page, tables.MAKER, tables.text(result)) == page
    assert not [line for line in tables.missed(result) if "Dice" in line or "memory" in line]


@pytest.mark.slow
def test_the_real_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not folder:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    path = Path(folder) / "3Dircadb1.17.zip"
    written = tmp_path / "results" / "out.json"
    monkeypatch.setattr(sys, "argv", ["roundtrip", "--input", str(path), "--rounds", "3", "--json", str(written)])
    command.main()
    report = json.loads(written.read_text())
    assert not [line for line in tables.missed(report) if "Dice" in line or "memory" in line]
