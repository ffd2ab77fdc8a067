"""Preparation: what is written, what is kept, and what one bad case or a sudden end may do."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.one_case import compose_labels, prepare_case
from ltvs.dataset.preparing import Outcome, prepare_set
from ltvs.dataset.provenance import Recipe, read_records
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.runtime.errors import InputError
from ltvs.sources import Entry, Source
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid, liver_grid, whole_grid
from ltvs.volume.images import read_ct, read_labels, same_grid
from ltvs.volume.resampling import resample_image, resample_labels
from support.tiny_cases import OBLIQUE, listed, tiny_case, without_liver
from support.worker_tasks import not_usable, with_a_bug

PREPARATION = Preparation((-160.0, 240.0), StageGrid(17, 2.5), StageGrid(19, 1.5), 6.0)
RECIPE = Recipe({"kind": "tiny"}, PREPARATION, "tiny")


def source(*names: str) -> dict:
    return listed(**{name: partial(tiny_case, name) for name in names})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def whole(patients: Mapping[str, str]) -> dict:
    return {"split.json": {"train": sorted(patients), "validation": sorted(patients), "test": []}}


def prepare(cases: Source, output: Path, recipe: Recipe = RECIPE, workers: int = 1) -> Outcome:
    return prepare_set(cases, recipe, output, workers, whole)


def from_file(path: Path, load: Callable[[], Case], patient: str = "") -> Entry:
    return Entry(load, patient or path.stem, (path,))


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


def test_labels_of_a_case_whose_vessels_nobody_labeled() -> None:
    case = tiny_case()
    labels = compose_labels(replace(case, vessel=None))
    np.testing.assert_array_equal(array(labels) == 3, array(case.tumor) > 0)
    np.testing.assert_array_equal(array(labels) > 0, (array(case.liver) | array(case.tumor)) > 0)
    assert not (array(labels) == 2).any()


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE[1]])
def test_what_is_written(tmp_path: Path, direction: np.ndarray) -> None:
    prepare(listed(a=partial(tiny_case, "a", direction)), tmp_path)
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
    assert prepare(source("a", "b"), tmp_path).made == ["a", "b"]
    before = contents(tmp_path)
    outcome = prepare(listed(a=not_usable, b=not_usable) | source("c"), tmp_path)
    assert (sorted(outcome.patients), outcome.made, outcome.failed) == (["a", "b", "c"], ["c"], {})
    after = contents(tmp_path)
    of_cases = {name: data for name, data in before.items() if "/" in name}
    assert {name: after[name] for name in of_cases} == of_cases
    assert set(after) > set(before)


def test_content_decides_not_dates_nor_places(tmp_path: Path) -> None:
    first = tmp_path / "in" / "a.mha"
    first.parent.mkdir()
    first.write_bytes(b"one content")
    usable, broken = (from_file(first, load) for load in (partial(tiny_case, "a"), not_usable))
    out = tmp_path / "out"
    assert prepare({"a": usable}, out).made == ["a"]
    os.utime(first, (1, 1))
    assert prepare({"a": broken}, out).failed == {}
    moved = first.rename(tmp_path / first.name)
    assert prepare({"a": from_file(moved, not_usable)}, out, replace(RECIPE, origin="elsewhere")).failed == {}
    size = moved.stat().st_size
    moved.write_bytes(b"new content")
    os.utime(moved, (1, 1))
    assert moved.stat().st_size == size
    outcome = prepare({"a": from_file(moved, not_usable)}, out)
    assert outcome.failed == {"a": "liver and CT are of two patients"}
    assert outcome.patients == {}
    assert not (out / "dataset.json").exists()


@pytest.mark.parametrize("file", ["images/a.nii.gz", "labels/a.nii.gz", "stage1/a/image.npy", "stage2/a/labels.npy"])
@pytest.mark.parametrize("damage", ["removed", "cut", "emptied", "changed"])
def test_a_prepared_case_that_was_damaged_is_made_anew(tmp_path: Path, file: str, damage: str) -> None:
    prepare(source("a"), tmp_path)
    path, before = tmp_path / file, contents(tmp_path)
    if damage == "removed":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "changed":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif path.suffix == ".npy":
        path.write_bytes(bytes(path.stat().st_size))  # what a crash of the machine can leave
    else:
        path.write_bytes(b"")
    assert prepare(source("a"), tmp_path).made == ["a"]
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name.endswith((".npy", "grid.json", "facts.json")))
    assert prepare(source("a"), tmp_path).made == []


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, source={"kind": "tiny", "matrix": 64}),
        replace(RECIPE, preparation=replace(PREPARATION, window=(-160.0, 200.0))),
    ],
)
def test_another_recipe_prepares_again(tmp_path: Path, other: Recipe) -> None:
    prepare(source("a"), tmp_path)
    assert prepare(listed(a=not_usable), tmp_path, other).failed == {"a": "liver and CT are of two patients"}
    assert prepare(source("a"), tmp_path, other).made == ["a"]
    assert read_records(tmp_path)["a"].recipe == other.json()


def test_a_second_source_adds_its_cases(tmp_path: Path) -> None:
    prepare(source("a", "b"), tmp_path)
    second = replace(RECIPE, source={"kind": "more"}, origin="more")
    outcome = prepare(source("c"), tmp_path, second)
    assert (outcome.kept, outcome.made, outcome.left_out) == (["a", "b"], ["c"], [])
    assert PreparedSet(tmp_path).cases == ("a", "b", "c")
    assert PreparedSet(tmp_path).split["train"] == ["a", "b", "c"]
    outcome = prepare(source("a"), tmp_path)
    assert (outcome.kept, outcome.made, outcome.left_out) == (["c"], [], ["b"])
    assert PreparedSet(tmp_path).cases == ("a", "c")


def test_a_second_source_prepared_otherwise_is_refused(tmp_path: Path) -> None:
    prepare(source("a", "b"), tmp_path)
    before = contents(tmp_path)
    second = Recipe({"kind": "more"}, replace(PREPARATION, margin=5.0), "more")
    with pytest.raises(InputError, match="holds 2 cases of tiny that were prepared with other settings; give the same"):
        prepare(source("c"), tmp_path, second)
    assert contents(tmp_path) == before


def test_a_second_source_does_not_take_the_place_of_other_cases(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    out = tmp_path / "out"
    prepare({"a": from_file(tmp_path / "one", partial(tiny_case, "a"))}, out)
    second = replace(RECIPE, origin="more")
    outcome = prepare({"a": from_file(tmp_path / "two", partial(tiny_case, "z"))}, out, second)
    assert "a: the data set has another case of this name, from tiny; rename one of the two" in outcome.failed["a"]
    assert outcome.kept == ["a"]
    np.testing.assert_array_equal(array(read_ct(PreparedSet(out).ct("a"))), array(tiny_case("a").ct))


def test_cases_of_another_source_that_an_older_version_made_are_said_and_come_back(tmp_path: Path) -> None:
    prepare(source("a", "b"), tmp_path)
    before = contents(tmp_path)
    for path in tmp_path.glob("stage*/a/*"):
        if path.name in ("facts.json", "places.npy"):  # what format 1 did not have
            path.unlink()
    second = replace(RECIPE, source={"kind": "more"}, origin="more")
    outcome = prepare(source("c"), tmp_path, second)
    assert outcome.kept == ["b"]
    assert (
        "a: was prepared by an older version or is damaged; prepare it again from tiny, or rem" in outcome.failed["a"]
    )
    assert PreparedSet(tmp_path).cases == ("b", "c")
    outcome = prepare(source("a", "b"), tmp_path)
    assert (outcome.made, outcome.kept, outcome.failed) == (["a"], ["c"], {})
    after = contents(tmp_path)
    assert all(after[name] == before[name] for name in before if name.startswith(("stage", "images", "labels")))


@pytest.mark.parametrize("part", ["images/b.nii.gz", "labels/b.nii.gz", "stage1/b"])
def test_files_that_preparation_did_not_make_are_not_replaced(tmp_path: Path, part: str) -> None:
    (tmp_path / part).parent.mkdir()
    (tmp_path / part).write_text("somebody's work")
    with pytest.raises(InputError, match=rf"holds {part}, but no prepared data set; give another --output"):
        prepare(source("a", "b"), tmp_path)
    assert contents(tmp_path) == {part: b"somebody's work"}


@pytest.mark.parametrize("record", ["[]", '{"files": 3}', '{"recipe": {}, "origin": "", "patient": "a", "ct": "", '
                                    '"content": "", "files": [1]}'])  # fmt: skip
def test_a_record_that_is_none_counts_for_nothing(tmp_path: Path, record: str) -> None:
    prepare(source("a"), tmp_path)
    (tmp_path / "stage2" / "a" / "case.json").write_text(record)
    assert prepare(source("a"), tmp_path).made == ["a"]


def test_one_ct_under_two_names(tmp_path: Path) -> None:
    twins = listed(b=partial(tiny_case, "a"), a=partial(tiny_case, "a"), c=partial(tiny_case, "c"))
    for _ in range(2):
        outcome = prepare(twins, tmp_path)
        assert outcome.failed == {"b": "b: has the CT of a, as another patient; remove one of the two"}
        assert PreparedSet(tmp_path).cases == ("a", "c")
    one_patient = {name: replace(entry, patient="p") for name, entry in twins.items()}
    assert prepare(one_patient, tmp_path / "new").failed == {}


def test_too_few_are_left_to_divide(tmp_path: Path) -> None:
    def two(patients: Mapping[str, str]) -> dict:
        if len(patients) < 2:
            raise InputError("too few")
        return whole(patients)

    message = "too few; cases that cannot be used: liver and CT are of two patients"
    with pytest.raises(InputError, match=message):
        prepare_set(source("a") | listed(bad=not_usable), RECIPE, tmp_path, 1, two)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_cases_do_not_stop_the_others(tmp_path: Path, workers: int) -> None:
    bad = listed(bad=not_usable, bug=with_a_bug, empty=partial(without_liver, "empty"))
    outcome = prepare(bad | source("a", "b"), tmp_path, workers=workers)
    assert outcome.made == ["a", "b"]
    assert sorted(outcome.failed) == ["bad", "bug", "empty"]
    assert outcome.failed["bad"] == "liver and CT are of two patients"
    assert "unexpected IndexError: list index out of range (worker_tasks.py, line" in outcome.failed["bug"]
    assert "empty: the liver mask is empty" in outcome.failed["empty"]
    assert {Path(name).parts[1].split(".")[0] for name in contents(tmp_path) if "/" in name} == {"a", "b"}


@pytest.mark.parametrize("renames", [1, 2, 3, 4, 5])
def test_a_run_that_is_killed_leaves_no_half_case(
    tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after so many parts of the case are in place: what was left is cleared away and made anew."""
    prepare(source("a"), tmp_path / "whole")
    finished = replace(RECIPE, source={"kind": "before"})
    prepare(source("a"), tmp_path / "cut", finished)
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
            prepare(source("a"), tmp_path / "cut")
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        PreparedSet(tmp_path / "cut")
    for recipe in (RECIPE, finished):
        outcome = prepare(listed(a=not_usable), tmp_path / "cut", recipe)
        assert outcome.patients == {}, "what is there must not pass for a whole case"
    (tmp_path / "cut" / ".preparing-left-over").mkdir()
    assert prepare(source("a"), tmp_path / "cut").made == ["a"]
    assert list((tmp_path / "cut").glob(".preparing-*")) == []
    cut_set, whole_set = contents(tmp_path / "cut"), contents(tmp_path / "whole")
    assert cut_set.keys() == whole_set.keys()
    assert all(cut_set[name] == whole_set[name] for name in whole_set if name.endswith((".npy", ".json")))


def test_an_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        prepare(source("a"), tmp_path / "file")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    with pytest.raises(InputError, match="case a cannot be written \\(No space left on device\\)"):
        prepare_case(source("a")["a"], None, RECIPE, tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
