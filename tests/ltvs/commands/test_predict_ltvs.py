"""The command line of prediction, with a run trained for a few steps."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import predict_ltvs
from ltvs.model.shipping import SHIPPED, ship_networks
from ltvs.runtime.command_line import run
from ltvs.volume.images import read_ct, read_labels, same_grid, write_volume
from predict_ltvs import PredictSettings, main
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
    assert sorted(path.name for path in seg.parent.iterdir()) == ["seg.nii.gz", "seg.png"]
    assert (seg.parent / "seg.png").read_bytes().startswith(b"\x89PNG")
    assert f"labels: {seg}" in capsys.readouterr().out


def test_the_networks_of_the_examples_are_the_default(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    networks = tmp_path / "some networks"
    ship_networks(trained_run, networks)
    monkeypatch.setattr(predict_ltvs, "SHIPPED", networks)
    write_volume(tiny_case().ct, tmp_path / "ct.nii.gz")
    command(monkeypatch, "--input", tmp_path / "ct.nii.gz", "--output", tmp_path / "seg.nii.gz")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "networks: some networks, trained on synthetic patients alone; not a medical device"
    assert len(said) == 3
    assert Path(predict_ltvs.__file__).parent / "networks" / "portal-venous-ct" == SHIPPED


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--input", "ct.nii.gz", "--output", "seg.txt"), r"seg.txt: expected a name that ends in .nii.gz"),
        (("--input", "none.nii.gz", "--output", "seg.nii.gz"), "none.nii.gz: does not exist"),
        (("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--run", "."), "no trained stage 1 here"),
        (("--input", "air.nii.gz", "--output", "seg.nii.gz"), "stage 1 finds no liver in this CT: 0 ml, expected at"),
        (("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--smallest-liver", "200"), "ml, expected at least 200;"),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--device", "banana"),
            "--device: expected cpu, cuda, cuda:1 or mps; got 'banana'",
        ),
        (
            ("--input", "ct.nii.gz", "--output", "seg.nii.gz", "--smallest-liver", "nan"),
            "--smallest-liver: expected 0 ml or more; got nan",
        ),
    ],
)
def test_what_cannot_be_is_said(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume(tiny_case().ct, Path("ct.nii.gz"))
    write_volume(sitk.GetImageFromArray(np.full((9, 10, 11), -1000, dtype=np.int16)), Path("air.nii.gz"))
    monkeypatch.setattr(sys, "argv", ["predict_ltvs.py", "--run", str(trained_run), "--device", "cpu", *words])
    with pytest.raises(SystemExit, match="2"):
        run(main, PredictSettings)
    shown = " ".join(word for word in capsys.readouterr().err.split() if word != "│")
    assert message.replace(r"\.", ".") in shown
    assert not list(tmp_path.glob("seg*")), "nothing is left behind"
