"""Prepared cases in nnU-Net's raw format: which files, which labels, whole or not at all."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.nnunet import check_target, export_nnunet
from ltvs.dataset.preparing import prepare_set
from ltvs.dataset.provenance import Recipe
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_labels, same_grid
from prepare_ltvs import PrepareSettings, main
from support.tiny_cases import OBLIQUE, listed, tiny_case
from support.volume_file_layouts import liver_and_tumor, write_task

PREPARATION = Preparation((-160.0, 240.0), StageGrid(17, 2.5), StageGrid(19, 1.5), 6.0)
SPLIT = {"train": ["a", "c"], "validation": ["b"], "test": ["d"]}


@pytest.fixture
def data(tmp_path: Path) -> PreparedSet:
    cases = listed(**{name: lambda k=k: tiny_case(f"case {k}", OBLIQUE[k]) for k, name in enumerate("abcd")})
    recipe = Recipe({"kind": "tiny"}, PREPARATION, "tiny")
    prepare_set(cases, recipe, tmp_path / "set", 1, lambda _: {"split.json": SPLIT})
    return PreparedSet(tmp_path / "set")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_where_nnunet_looks(data: PreparedSet, tmp_path: Path) -> None:
    target = tmp_path / "nnUNet_raw" / "Dataset501_Tiny"
    assert export_nnunet(data, target) == {"background": 0, "liver": 1, "vessel": 2, "tumor": 3}
    training = {f"imagesTr/{n}_0000.nii.gz" for n in "abc"} | {f"labelsTr/{n}.nii.gz" for n in "abc"}
    test = {"imagesTs/d_0000.nii.gz", "labelsTs/d.nii.gz"}
    assert files(target) == training | test | {"dataset.json", "splits_final.json"}
    assert [path.name for path in target.parent.iterdir()] == [target.name], "nothing temporary is left"
    assert json.loads((target / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "vessel": 2, "tumor": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    assert json.loads((target / "splits_final.json").read_text()) == [{"train": ["a", "c"], "val": ["b"]}]
    for name, part in (("a", "Tr"), ("d", "Ts")):
        ct, labels = target / f"images{part}" / f"{name}_0000.nii.gz", target / f"labels{part}" / f"{name}.nii.gz"
        assert ct.read_bytes() == data.ct(name).read_bytes()
        assert labels.read_bytes() == data.labels(name).read_bytes()
        assert same_grid(sitk.ReadImage(str(ct)), sitk.ReadImage(str(labels)))


def test_labels_have_no_gap_where_a_structure_is_missing(data: PreparedSet, tmp_path: Path) -> None:
    """In a set of several cohorts a case may have labels of a structure that others lack."""
    data.structures = ("liver", "tumor")
    target = tmp_path / "Dataset001_x"
    assert export_nnunet(data, target) == {"background": 0, "liver": 1, "tumor": 2}
    before, after = (read_labels(path) for path in (data.labels("b"), target / "labelsTr" / "b.nii.gz"))
    assert same_grid(before, after)
    was, now = map(sitk.GetArrayFromImage, (before, after))
    assert set(np.unique(was)) == {0, 1, 2, 3}
    assert np.array_equal(now, np.array([0, 1, 1, 2], np.uint8)[was])


def test_with_few_patients_a_case_can_be_in_several_parts(data: PreparedSet, tmp_path: Path) -> None:
    data.split = {part: ["a", "b"] for part in SPLIT}
    export_nnunet(data, tmp_path / "Dataset001_x")
    assert json.loads((tmp_path / "Dataset001_x" / "dataset.json").read_text())["numTraining"] == 2


@pytest.mark.parametrize("name", ["Liver", "Dataset1_Liver", "Dataset0501_Liver", "Dataset501", "Dataset501_a b"])
def test_names_that_nnunet_would_not_find(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--export-nnunet .*expected a folder named like Dataset501_Liver"):
        check_target(tmp_path / name)


def test_what_is_there_is_not_overwritten(data: PreparedSet, tmp_path: Path) -> None:
    (tmp_path / "Dataset501_x").mkdir()
    (tmp_path / "Dataset502_x").symlink_to(tmp_path / "nowhere")
    for name in ("Dataset501_x", "Dataset502_x"):
        with pytest.raises(InputError, match=r"exists already; remove it, or give another number"):
            export_nnunet(data, tmp_path / name)


def test_nothing_is_left_when_a_file_is_missing(data: PreparedSet, tmp_path: Path) -> None:
    data.labels("d").unlink()
    with pytest.raises(InputError, match=r"labels.d\.nii\.gz: is missing; prepare the data set again"):
        export_nnunet(data, tmp_path / "raw" / "Dataset501_x")
    assert not list((tmp_path / "raw").iterdir())


def test_a_place_that_cannot_be_written(data: PreparedSet, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file")
    with pytest.raises(InputError, match=r"Dataset501_x: cannot be written \("):
        export_nnunet(data, tmp_path / "raw" / "Dataset501_x")


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> None:
    size = ("--pixels=16", "--slice-spacing=3", "--liver-pixels=16", "--liver-slice-spacing=3", "--workers=1")
    source = ("--source=msd03", f"--input={folder / 'msd03'}", f"--output={folder / 'set'}")
    monkeypatch.setattr(sys, "argv", ["prepare_ltvs.py", *source, *size, *words])
    run(main, PrepareSettings)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    write_task(tmp_path / "msd03", {"liver_1": liver_and_tumor(tiny_case())})
    target = tmp_path / "raw" / "Dataset003_Liver"
    with pytest.raises(InputError, match="--export-nnunet: expected without --check, which writes nothing"):
        PrepareSettings("msd03", check=True, export_nnunet=target)
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, tmp_path, f"--export-nnunet={target.parent}")
    assert "expected a folder named like" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "set").exists(), "said before the work"
    command(monkeypatch, tmp_path, f"--export-nnunet={target}")
    assert "1 liver, 2 tumor)\nafter planning, copy its splits_final.json" in capsys.readouterr().out
    assert np.unique(sitk.GetArrayFromImage(read_labels(target / "labelsTr" / "msd03-001.nii.gz"))).tolist() == [
        0,
        1,
        2,
    ]
    assert os.access(target, os.R_OK | os.X_OK)
