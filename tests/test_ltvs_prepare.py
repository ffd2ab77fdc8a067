"""Preparation: what is written, what is kept, and what one bad case or a sudden end may do."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.errors import InputError
from ltvs.grids import Grid, liver_grid, whole_grid
from ltvs.images import read_ct, read_labels, same_grid
from ltvs.prepare import Recipe, compose_labels, prepare_case, prepare_cases, write_description
from ltvs.prepared import Preparation, PreparedSet, StageGrid
from ltvs.resample import resample_image, resample_labels
from tiny_cases import OBLIQUE, ends_the_process, listed, not_usable, tiny_case, with_a_bug, without_liver

PREPARATION = Preparation((-160.0, 240.0), StageGrid(17, 2.5), StageGrid(19, 1.5), 6.0)
RECIPE = Recipe({"kind": "tiny"}, PREPARATION)


def source(*names: str) -> dict:
    return listed(**{name: partial(tiny_case, name) for name in names})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def test_labels_clip_vessels_and_put_tumors_first() -> None:
    case = tiny_case()
    liver, vessel, tumor = (array(mask) > 0 for mask in (case.liver, case.vessel, case.tumor))
    assert (vessel & ~liver).any()
    assert (tumor & ~liver).any()
    labels = compose_labels(case)
    assert same_grid(labels, case.ct)
    np.testing.assert_array_equal(array(labels) == 3, tumor)
    np.testing.assert_array_equal(array(labels) == 2, vessel & liver & ~tumor)
    np.testing.assert_array_equal(array(labels) > 0, liver | tumor)


def test_labels_of_a_case_whose_vessels_nobody_labelled() -> None:
    case = tiny_case()
    labels = compose_labels(replace(case, vessel=None))
    np.testing.assert_array_equal(array(labels) == 3, array(case.tumor) > 0)
    np.testing.assert_array_equal(array(labels) > 0, (array(case.liver) | array(case.tumor)) > 0)
    assert not (array(labels) == 2).any()


def test_a_tumor_alone_makes_no_liver() -> None:
    case = tiny_case("no liver")
    case.liver[:] = 0
    with pytest.raises(InputError, match="no liver: expected a liver, got an empty mask"):
        compose_labels(case)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE[1]])
def test_what_is_written(tmp_path: Path, direction: np.ndarray) -> None:
    prepare_case(partial(tiny_case, "a", direction), RECIPE, tmp_path, "a")
    write_description(tmp_path, RECIPE, ["a"], {"train": ["a"], "validation": ["a"], "test": []})
    case = tiny_case("a", direction)
    data = PreparedSet(tmp_path)
    labels = read_labels(data.labels("a"))
    assert same_grid(read_ct(data.ct("a")), case.ct)
    np.testing.assert_array_equal(array(read_ct(data.ct("a"))), array(case.ct))
    np.testing.assert_array_equal(array(labels), array(compose_labels(case)))
    grids = {1: whole_grid(case.ct, 17, 2.5), 2: liver_grid(compose_labels(case), 19, 1.5, 6.0)}
    for stage, grid in grids.items():
        prepared = data.case(stage, "a")
        assert prepared.grid == Grid.from_json(json.loads(json.dumps(grid.json())))
        np.testing.assert_array_equal(prepared.image, array(resample_image(case.ct, grid, (-160, 240))))
        np.testing.assert_array_equal(prepared.labels, array(resample_labels(compose_labels(case), grid)))
        assert set(np.unique(prepared.labels)) == {0, 1, 2, 3}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "dataset.json",
        "images",
        "labels",
        "split.json",
        "stage1",
        "stage2",
    ]


def test_a_second_run_keeps_what_is_there(tmp_path: Path) -> None:
    assert prepare_cases(source("a", "b"), RECIPE, tmp_path, workers=1).done == ["a", "b"]
    before = contents(tmp_path)
    outcome = prepare_cases(listed(a=not_usable, b=not_usable) | source("c"), RECIPE, tmp_path, workers=1)
    assert (outcome.done, outcome.failed) == (["a", "b", "c"], {})
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) > set(before)


@pytest.mark.parametrize(
    "other",
    [
        Recipe({"kind": "tiny", "matrix": 64}, PREPARATION),
        Recipe({"kind": "tiny"}, Preparation((-160.0, 200.0), StageGrid(17, 2.5), StageGrid(19, 1.5), 6.0)),
    ],
)
def test_another_recipe_prepares_again(tmp_path: Path, other: Recipe) -> None:
    prepare_cases(source("a"), RECIPE, tmp_path, workers=1)
    outcome = prepare_cases(listed(a=not_usable), other, tmp_path, workers=1)
    assert outcome.failed == {"a": "liver and CT are of two patients"}
    assert prepare_cases(source("a"), other, tmp_path, workers=1).done == ["a"]
    assert json.loads((tmp_path / "stage2" / "a" / "recipe.json").read_text()) == other.json()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_cases_do_not_stop_the_others(tmp_path: Path, workers: int) -> None:
    bad = listed(bad=not_usable, bug=with_a_bug, empty=partial(without_liver, "empty"))
    outcome = prepare_cases(bad | source("a", "b"), RECIPE, tmp_path, workers)
    assert outcome.done == ["a", "b"]
    assert sorted(outcome.failed) == ["bad", "bug", "empty"]
    assert outcome.failed["bad"] == "liver and CT are of two patients"
    assert "unexpected IndexError: list index out of range (tiny_cases.py, line" in outcome.failed["bug"]
    assert "empty: expected a liver" in outcome.failed["empty"]
    assert {Path(name).parts[1].split(".")[0] for name in contents(tmp_path)} == {"a", "b"}


def test_a_process_that_ends_is_a_reason_too(tmp_path: Path) -> None:
    outcome = prepare_cases(listed(a=ends_the_process, b=ends_the_process), RECIPE, tmp_path, workers=2)
    assert outcome.done == []
    assert all("its process was ended, perhaps for want of memory" in reason for reason in outcome.failed.values())


@pytest.mark.parametrize("renames", [1, 2, 3, 4, 5])
def test_a_run_that_is_killed_leaves_no_half_case(
    tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after so many parts of the case are in place: what was left is cleared away and made anew."""
    prepare_cases(source("a"), RECIPE, tmp_path / "whole", workers=1)
    finished = Recipe({"kind": "before"}, PREPARATION)
    prepare_cases(source("a"), finished, tmp_path / "cut", workers=1)
    write_description(tmp_path / "cut", finished, ["a"], {"train": ["a"], "validation": ["a"], "test": ["a"]})
    made = 0
    rename = Path.replace

    def cut(self: Path, target: Path) -> Path:
        nonlocal made
        if target.name.startswith("old-") or ".preparing-" not in str(target):
            made += 1
            if made > renames:
                raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        patch.setattr("tempfile.TemporaryDirectory.cleanup", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            prepare_cases(source("a"), RECIPE, tmp_path / "cut", workers=1)
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        PreparedSet(tmp_path / "cut")
    for recipe in (RECIPE, finished):
        outcome = prepare_cases(listed(a=not_usable), recipe, tmp_path / "cut", workers=1)
        assert outcome.done == [], "what is there must not pass for a whole case"
    (tmp_path / "cut" / ".preparing-left-over").mkdir()
    assert prepare_cases(source("a"), RECIPE, tmp_path / "cut", workers=1).done == ["a"]
    assert list((tmp_path / "cut").glob(".preparing-*")) == []
    cut_set, whole_set = contents(tmp_path / "cut"), contents(tmp_path / "whole")
    assert cut_set.keys() - {"split.json"} == whole_set.keys()
    assert all(cut_set[name] == whole_set[name] for name in whole_set if name.endswith((".npy", ".json")))


def test_an_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        prepare_cases(source("a"), RECIPE, tmp_path / "file", workers=1)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    with pytest.raises(InputError, match="case a cannot be written \\(No space left on device\\)"):
        prepare_case(partial(tiny_case, "a"), RECIPE, tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
