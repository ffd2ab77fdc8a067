"""The command line of prediction into one label map, with a run trained for a few steps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import predict_ltvs
from ltvs.delivery.surfaces import structure_surfaces
from ltvs.model.shipping import SHIPPED, ship_networks
from ltvs.runtime.command_line import run
from ltvs.runtime.extras import EXTRAS
from ltvs.volume.images import read_ct, read_labels, same_grid, write_volume
from predict_ltvs import PredictSettings, main
from support.ircadb_layout import write_series
from support.tiny_cases import OBLIQUE, tiny_case


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["predict_ltvs.py", *map(str, words), "--smallest-liver", "1", "--device", "cpu"])
    run(main, PredictSettings)


def test_a_nifti_file(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    ct, seg = tmp_path / "ct ä.nii.gz", tmp_path / "new" / "seg.nii.gz"
    case = tiny_case(direction=OBLIQUE[1])
    write_volume(case.ct, ct)
    command(monkeypatch, "--input", ct, "--run", trained_run, "--output", seg)
    labels = read_labels(seg)
    assert same_grid(labels, read_ct(ct))
    found, liver = (sitk.GetArrayFromImage(x) > 0 for x in (labels, case.liver))
    assert (found & liver).sum() > 0.5 * liver.sum()
    beside = ["seg.measurements.csv", "seg.measurements.json", "seg.nii.gz", "seg.png"]
    assert sorted(path.name for path in seg.parent.iterdir()) == beside
    assert (seg.parent / "seg.png").read_bytes().startswith(b"\x89PNG")
    ml = found.sum() * np.prod(labels.GetSpacing()) / 1000
    assert json.loads((seg.parent / beside[1]).read_text())["seg"]["liver_ml"] == pytest.approx(ml, abs=1e-3)
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == f"labels: {seg}"
    files = [line.partition(": ")[2] for line in said.out.splitlines() if not line.startswith("doubt: ")]
    assert sorted(files) == [str(seg.parent / name) for name in beside]
    assert said.err == "", "no progress where there is no terminal"


def test_the_only_ct_of_a_study(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    case = tiny_case()
    write_series(Path("study/CT"), case.ct)
    write_series(Path("study/MR"), case.ct, Modality="MR")
    command(monkeypatch, "--input", "study", "--run", trained_run, "--output", "seg.mha", "--progress")
    assert same_grid(read_labels(Path("seg.mha")), case.ct)
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "skipped (Modality MR): study/MR"
    assert "CT 1 of 1, CT: vessels and tumors" in said.err


def test_the_networks_of_the_examples_are_the_default(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    networks = tmp_path / "some networks"
    ship_networks(trained_run, networks)
    monkeypatch.setattr("ltvs.model.shipping.SHIPPED", networks)
    write_volume(tiny_case().ct, tmp_path / "ct.nii.gz")
    command(monkeypatch, "--input", tmp_path / "ct.nii.gz", "--output", tmp_path / "seg.nii.gz")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "networks: some networks, trained on synthetic patients alone; not a medical device"
    assert [line.partition(":")[0] for line in said[1:5]] == ["labels", "measurements", "measurements", "picture"]
    (measured,) = json.loads((tmp_path / "seg.measurements.json").read_text()).values()
    assert len(measured["doubts"]) >= 2, "a liver as small as this one"
    assert said[5:] == [f"doubt: {doubt}" for doubt in measured["doubts"]]
    assert Path(predict_ltvs.__file__).parent / "networks" / "portal-venous-ct" == SHIPPED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--input", "ct.nii.gz", "--output", "air.nii"), "air.nii: exists already"),
        (("--input", "ct.nii.gz", "--output", "notes.txt"), "notes.txt: is a file, expected a folder, or a name that"),
        (
            ("--input", "ct.nii.gz", "--output", "seg.PNG"),
            "--output: expected a folder, or a name that ends in .nii.gz, .nii, .nrrd, .mha; got seg.PNG; the labels",
        ),
        (("--input", "ct.nii.gz", "--output", "ct.nrrd"), "ct.nrrd: has the name of --input ct.nii.gz beside it; give"),
        (("--output", "seg.nii.gz"), "--input: expected one CT or more, or a folder of them; got none"),
        (("--input", "none.nii.gz", "--output", "seg.nii.gz"), "none.nii.gz: does not exist"),
        (("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--run", "."), "no trained stage 1 here"),
        (("--input", "ct.nii.gz", "--output", "seg", "--run", "."), "no trained stage 1 here"),
        (("--input", "air.nii", "--output", "seg.nii.gz"), "air.nii: stage 1 finds no liver in this CT: 0 ml, exp"),
        (("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--smallest-liver", "200"), "ml, expected at least 200;"),
        (
            ("--input", "ct.nii.gz", "air.nii", "--output", "seg.nii.gz"),
            "--output seg.nii.gz: is one label map, expected one CT as --input; got 2 (air.nii, ct.nii.gz); give",
        ),
        (("--input", ".", "--output", "seg"), "seg: is inside --input, which is never written to; give another folder"),
        (("--input", "x/y", "--output", "x"), "x: --input is inside, which is never written to; give another folder"),
        (("--input", "x/y", "--output", "seg"), "x/y: no DICOM series found, and no file that ends in .nii.gz, .nii,"),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--dicom-seg"),
            "ct.nii.gz: is no DICOM series, which --dicom-seg refers to; leave it out",
        ),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--devices", "2"),
            "--devices, --nodes: share the CTs of a folder; give the name of a folder as --output",
        ),
        (("--input", "ct.nii.gz", "--output", "seg", "--nodes", "0"), "--nodes: expected 1 or more; got 0"),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--device", "banana"),
            "--device: expected cpu, cuda, cuda:1 or mps; got 'banana'",
        ),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--smallest-liver", "nan"),
            "--smallest-liver: expected 0 ml or more; got nan",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tiny_case().ct, Path("ct.nii.gz"))
    write_volume(sitk.GetImageFromArray(np.full((9, 10, 11), -1000, dtype=np.int16)), Path("air.nii"))
    Path("notes.txt").write_text("somebody's work")
    Path("x/y").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["predict_ltvs.py", "--run", str(trained_run), "--device", "cpu", *words])
    with pytest.raises(SystemExit, match="2"):
        run(main, PredictSettings)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("seg*")), "nothing is left behind"


def test_a_page_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It is said before anything is computed, even before the input is looked at."""
    monkeypatch.setitem(EXTRAS, "view", ("no_such_library",))
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, "--input", "none", "--output", tmp_path / "out", "--html")
    assert capsys.readouterr().err.startswith("error: needs no_such_library (not installed); run pip install")


def test_files_of_earlier_labels_are_removed_or_told_of(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tiny_case().ct, Path("ct.nii.gz"))
    for name in ("x.nii.gz", "x.html", "x.liver.ply", "x.tumor.stl", "y.html"):
        Path(name).write_text("of another CT")
    # With so few steps of training, no tumor is found.
    words = ("--input", "ct.nii.gz", "--run", trained_run, "--output", "x.nii.gz", "--meshes", "stl", "--overwrite")
    command(monkeypatch, *words)
    surfaces = {f"x.{name}.stl" for name in structure_surfaces(read_labels(Path("x.nii.gz")))}
    assert {path.name for path in Path().glob("x.*.stl")} == surfaces
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "these files are from earlier labels; remove those that are out of date: x.html, x.liver.ply"
