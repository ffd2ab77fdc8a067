"""The accuracy study's cases: made, written, read, hardened, cut into patches."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from benchmarks.accuracy.cases import (
    batch,
    hardened,
    names_for_testing,
    names_for_training,
    prepare,
    read_case,
    write_case,
)
from benchmarks.accuracy.data import phantoms
from benchmarks.accuracy.task import Task
from ltvs.volume.case import Case
from support.study_cases import TINY, volume, write_cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"))


def test_a_case_is_written_and_read(tmp_path: Path) -> None:
    write_case(tmp_path / "a.npz", volume())
    again = read_case(tmp_path / "a.npz")
    assert np.array_equal(again.hu, volume().hu)
    assert np.array_equal(again.labels, volume().labels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_case_is_named(tmp_path: Path, keep: int) -> None:
    write_case(tmp_path / "a.npz", volume())
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.npz: expected a case of benchmarks\.accuracy\.data; got .*make it again"):
        read_case(tmp_path / "a.npz")


def test_no_code_is_loaded_from_a_case(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", hu=np.array([object()], dtype=object), labels=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_case(tmp_path / "a.npz")


@pytest.mark.parametrize("labels", [np.zeros((2, 3, 5), np.uint8), np.full((2, 3, 4), 4, np.uint8)])
def test_arrays_that_do_not_fit_are_no_case(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", hu=np.zeros((2, 3, 4), np.int16), labels=labels)
    with pytest.raises(ValueError, match=r"a\.npz: expected HU and labels of one shape, labels up to 3"):
        read_case(tmp_path / "a.npz")


def test_no_patient_is_on_both_sides(folder: Path) -> None:
    assert names_for_testing(folder) == ["3dircadb-1", "plain-000"]
    assert names_for_training(folder, "all") == ["lits-10", "plain-train-000"]
    assert names_for_training(folder, "plain") == ["plain-train-000"]


def test_a_folder_without_cases(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected cases, \*\.npz; found none"):
        names_for_testing(tmp_path)


def test_patients_of_ircadb_under_another_name_are_left_out(tmp_path: Path) -> None:
    for name in ("lits-27", "lits-28", "lits-48", "lits-49", "3dircadb-1"):
        (tmp_path / f"{name}.nii.gz").touch()
    names = [name for name in phantoms.planned(tmp_path) if not name.startswith("plain")]
    assert sorted(names) == ["3dircadb-1", "lits-27", "lits-49"]
    seeds = [
        seed + attempt * phantoms.NEXT
        for seed, _ in phantoms.planned(tmp_path).values()
        for attempt in range(phantoms.TRIES)
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_made_case_is_a_box_around_its_liver() -> None:
    made = phantoms.made(3, None, matrix=64)
    inside = np.argwhere(made.labels > 0)
    assert inside.min(0).tolist() == [phantoms.MARGIN] * 3
    assert (np.array(made.labels.shape) - 1 - inside.max(0)).tolist() == [phantoms.MARGIN] * 3
    assert set(np.unique(made.labels)) == {0, 1, 2, 3}


def test_a_case_without_labeled_vessels_is_refused() -> None:
    image = sitk.Image(3, 4, 5, sitk.sitkUInt8)
    with pytest.raises(ValueError, match="a: expected vessels; got none; use a source that labels them"):
        phantoms.cut(Case("a", image, image + 1, None, image))


def test_a_case_that_cannot_be_made_is_told_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(
        phantoms, "planned", lambda _: {"plain-000": (3, None), "lits-1": (4, tmp_path / "none.nii.gz")}
    )
    words = ["--output", str(tmp_path), "--matrix", "64", "--workers", "1"]
    monkeypatch.setattr("sys.argv", ["data", *words])
    assert phantoms.main() == 2
    said = capsys.readouterr()
    assert re.fullmatch(r"plain-000: \d+ voxels\n", said.out)
    assert re.fullmatch(r"error: lits-1: unexpected RuntimeError: .*none\.nii\.gz.*\n", said.err)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["plain-000.npz"]


def test_less_contrast_more_noise_and_isodense_tumors() -> None:
    plain = replace(TINY, contrast=1.0, noise=0.0, isodense=0.0)
    case, liver = volume(), volume().labels == 1

    def contrast(task: Task, label: int) -> float:
        hu = hardened(case, task, np.random.default_rng(0)).astype(float)
        return float(hu[case.labels == label].mean() - np.median(hu[liver]))

    assert np.array_equal(hardened(case, plain, np.random.default_rng(0)), case.hu)
    assert contrast(replace(plain, contrast=0.5), 2) == pytest.approx(0.5 * contrast(plain, 2), abs=0.5)
    assert contrast(plain, 3) < -20
    # Its surface is soft, so that a part of the distance stays.
    assert -8 < contrast(replace(plain, isodense=1.0), 3) < 1
    noisy = hardened(case, replace(plain, noise=20.0), np.random.default_rng(0)).astype(float) - case.hu
    assert noisy.std() == pytest.approx(20, rel=0.02)


def test_a_case_is_the_same_whatever_else_there_is() -> None:
    one, other = (prepare("a", volume(), TINY) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert not np.array_equal(one.image, prepare("b", volume(), TINY).image)
    assert (one.image[volume().labels == 0] == 0).all()


def test_patches_are_decided_by_seed_and_step() -> None:
    cases = [prepare(name, volume(i), TINY) for i, name in enumerate("ab")]
    image, target = batch(cases, TINY, 5, 7)
    again = batch(cases, TINY, 5, 7)
    assert torch.equal(image, again[0])
    assert torch.equal(target, again[1])
    assert image.shape == target.shape == (2, 1, 8, 16, 16)
    assert not torch.equal(image, batch(cases, TINY, 5, 8)[0])
    assert not torch.equal(image, batch(cases, TINY, 6, 7)[0])


def test_each_class_is_in_the_middle_as_often() -> None:
    case = prepare("a", volume(), TINY)
    large = replace(TINY, batch=300)
    middle = batch([case], large, 0, 0)[1][:, 0, 4, 8, 8]
    shares = torch.bincount(middle.long(), minlength=3) / 300
    # A third each, of which turning may move a few to the next pixel: within five standard deviations, 0.14.
    assert shares.min() > 1 / 3 - 0.14


def test_unknown_training_data_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="names_for_training: expected data to be one of 'all', 'plain'; got 'real'"):
        names_for_training(folder, "real")
