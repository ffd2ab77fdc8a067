"""Reading prepared data sets: memory-mapped, and clear about what is missing or damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.preparing import prepare_set
from ltvs.dataset.provenance import Recipe
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.runtime.errors import InputError
from support.tiny_cases import listed, tiny_case

PREPARATION = Preparation((-160.0, 240.0), StageGrid(17, 2.5), StageGrid(19, 1.5), 6.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    splits = {
        "split.json": {"train": ["a"], "validation": ["a"], "test": []},
        "fold1.json": {"train": [], "validation": ["a"], "test": ["a"]},
    }
    prepare_set(listed(a=tiny_case), Recipe({"kind": "tiny"}, PREPARATION, "tiny"), tmp_path, 1, lambda _: splits)
    return tmp_path


def test_it_knows_its_cases_split_and_preparation(folder: Path) -> None:
    data = PreparedSet(folder)
    assert data.cases == ("a",)
    assert data.split == {"train": ["a"], "validation": ["a"], "test": []}
    assert data.preparation == PREPARATION


def test_another_split(folder: Path, tmp_path: Path) -> None:
    assert PreparedSet(folder, Path("fold1.json")).split["test"] == ["a"]
    own = tmp_path / "elsewhere" / "ä.json"
    own.parent.mkdir()
    own.write_text('{"train": ["a"], "validation": [], "test": []}')
    assert PreparedSet(folder, own).split == {"train": ["a"], "validation": [], "test": []}
    with pytest.raises(InputError, match=r"fold9\.json: no such split, found fold1\.json, split\.json"):
        PreparedSet(folder, Path("fold9.json"))


def test_a_set_says_what_was_labeled_in_it(folder: Path) -> None:
    assert PreparedSet(folder).structures == ("liver", "tumor", "vessel")
    for stage in (1, 2):
        PreparedSet(folder).check_stage(stage)
    edited("dataset.json", lambda c: c.update(structures=["liver", "tumor"]))(folder)
    data = PreparedSet(folder)
    assert data.structures == ("liver", "tumor")
    data.check_stage(1)
    with pytest.raises(InputError, match="labels of vessel and tumor to train stage 2; not all cases have vessel"):
        data.check_stage(2)


def test_patients_that_two_cohorts_share_cannot_be_in_one_set(folder: Path) -> None:
    edited("dataset.json", lambda c: c["cases"].update({"x": "lits-028", "y": "ircadb-03"}))(folder)
    with pytest.raises(InputError, match=r"LiTS 28-48: .*got x beside y"):
        PreparedSet(folder)


def test_arrays_are_mapped_not_read(folder: Path) -> None:
    case = PreparedSet(folder).case(2, "a")
    assert isinstance(case.image, np.memmap)
    assert isinstance(case.labels, np.memmap)
    assert case.image.shape == case.labels.shape == case.grid.size[::-1]
    assert (case.image.dtype, case.labels.dtype) == (np.int16, np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        case.image[0, 0, 0] = 1


def test_a_folder_without_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json is missing\); make one with prepare_ltvs\.py"):
        PreparedSet(tmp_path)


def edited(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "split.json").unlink(), r"split\.json: no such split, found fold1\.json"),
        (lambda f: (f / "dataset.json").write_text("{"), r"dataset\.json: is not valid JSON"),
        (edited("dataset.json", lambda c: c.update(format=99)), "format 99, expected 2; prepare it again"),
        (edited("dataset.json", lambda c: c.pop("cases")), r"damaged \(KeyError\('cases'\)\); prepare it again"),
        (edited("dataset.json", lambda c: c["preparation"].update(window=[1])), "damaged .*prepare it again"),
        (edited("dataset.json", lambda c: c["preparation"].update(stage1={"px": 3})), "damaged .*prepare it again"),
        (edited("split.json", lambda c: c.pop("test")), r"damaged \(KeyError\('test'\)\)"),
        (edited("split.json", lambda c: c["test"].append("b")), "names cases that were not prepared: b"),
    ],
)
def test_a_damaged_description(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        PreparedSet(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "image.npy").unlink(), "missing or damaged"),
        (lambda f: (f / "labels.npy").write_bytes(b""), "missing or damaged"),
        (lambda f: (f / "image.npy").write_bytes((f / "image.npy").read_bytes()[:-7]), "missing or damaged"),
        (lambda f: np.save(f / "labels.npy", np.array([{"a": 1}]), allow_pickle=True), "missing or damaged"),
        (lambda f: (f / "grid.json").write_text("{}"), "missing or damaged"),
        (lambda f: np.save(f / "labels.npy", np.zeros((2, 3, 4), np.uint8)), "do not belong together"),
        (edited("grid.json", lambda c: c.update(size=[17, 17, 3])), "do not belong together"),
        (lambda f: (f / "facts.json").unlink(), "missing or damaged"),
        (edited("facts.json", lambda c: c.pop("zero")), "missing or damaged"),
        (edited("facts.json", lambda c: c.update(zero="high")), "missing or damaged"),
        (edited("facts.json", lambda c: c.update(places=[3])), "do not belong together"),
        (lambda f: shutil.copytree(f.parents[1] / "stage2" / "a", f, dirs_exist_ok=True), "do not belong together"),
        (lambda f: np.save(f / "places.npy", np.zeros((2, 3), np.int64)), "do not belong together"),
        (lambda f: np.save(f / "image.npy", np.load(f / "image.npy").astype(float)), "do not belong together"),
    ],
)
def test_a_damaged_case(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder / "stage1" / "a")
    with pytest.raises(InputError, match=f"{message}.*prepare it again"):
        PreparedSet(folder).case(1, "a")
