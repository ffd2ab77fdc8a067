"""Faults and oddities of a case: each is reported with the case and the remedy, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.dataset.checks import Level, examine, repeated
from ltvs.model.stage_view import Preparation, StageGrid
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from support.tiny_cases import OBLIQUE, ball, center, grid, image, tiny_case

FINE = Preparation((-160.0, 240.0), StageGrid(16, 1.0), StageGrid(16, 0.5), 6.0)
COARSE = replace(FINE, stage1=StageGrid(16, 2.0), stage2=StageGrid(16, 1.5))


def good_case() -> Case:
    """Nothing is odd: air around, no vessel or tumor outside."""
    case = tiny_case("a")
    return replace(case, vessel=case.vessel * case.liver, tumor=case.tumor * case.liver)


def with_hu(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Case], Case]:
    def changed(case: Case) -> Case:
        hu = change(sitk.GetArrayFromImage(case.ct).astype(np.int32)).astype(np.int16)
        return replace(case, ct=Grid.of(case.ct).place(sitk.GetImageFromArray(hu)))

    return changed


def moved(mask: sitk.Image, **change: object) -> sitk.Image:
    return replace(Grid.of(mask), **change).place(sitk.GetImageFromArray(sitk.GetArrayFromImage(mask)))


def elsewhere(case: Case) -> sitk.Image:
    """A mask that has no voxel in the liver."""
    where = grid()
    return image(ball(where, np.add(center(where), (0, 0, 18)), 3).astype(np.uint8), where)


def texts(case: Case, level: Level, preparation: Preparation = FINE) -> list[str]:
    return examine(case, preparation).texts(level)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE[2]])
def test_a_good_case(direction: np.ndarray) -> None:
    case = good_case()
    report = examine(case, FINE)
    assert report.findings == ()
    assert report.facts is not None
    assert (report.facts.size, report.facts.spacing) == (case.ct.GetSize(), case.ct.GetSpacing())
    hu = sitk.GetArrayFromImage(case.ct)
    assert report.facts.hu == (hu.min(), hu.max())
    for name, mask in (("liver", case.liver), ("tumor", case.tumor), ("vessel", case.vessel)):
        ml = sitk.GetArrayFromImage(mask).sum() * 1.3 * 1.5 * 2.0 / 1000
        assert report.facts.ml[name] == pytest.approx(ml)
    assert report.facts.ml["liver"] == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.05), "a ball of 11 mm"


def test_a_patient_without_tumors_or_vessels_is_good() -> None:
    case = good_case()
    assert examine(replace(case, tumor=case.tumor * 0, vessel=case.vessel * 0), FINE).findings == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, liver=c.liver * 0), "a: the liver mask is empty; leave the case out, or mark the liver"),
        (lambda c: replace(c, tumor=c.tumor * 2), "a: expected 0 and 1 in the tumor mask, got 2"),
        (lambda c: replace(c, vessel=c.vessel[:, :, 1:]), "the vessel mask does not lie on the CT: size (28, 25, 20)"),
        (
            lambda c: replace(c, liver=moved(c.liver, spacing=(1.3, 1.5, 2.001))),
            "the liver mask does not lie on the CT: spacing (1.3, 1.5, 2.001), expected (1.3, 1.5, 2); is it of",
        ),
        (
            lambda c: replace(c, liver=moved(c.liver, origin=(-31.0, 12.5, 140.01))),
            "origin (-31, 12.5, 140.01), expected (-31, 12.5, 140)",
        ),
        (lambda c: replace(c, tumor=moved(c.tumor, direction=(1, 0, 0, 0, -1, 0, 0, 0, 1))), "direction (1, 0, 0, 0"),
        (with_hu(lambda hu: np.clip(hu, 0, 255)), "a: CT of 0 to 146, a picture of 8 bits or a label map"),
        (with_hu(lambda hu: hu // 10), "a: CT of -100 to 14 without air, which is below -150 HU; was it scaled, or is"),
        (with_hu(lambda hu: hu // 50), "a: CT of -20 to 2, fat is below -50 HU; was it scaled? export the CT itself"),
        (with_hu(lambda hu: np.maximum(hu + 1024, 0)), "to 1170, air and fat are below 0 HU; it may be an MR"),
        (with_hu(lambda hu: hu + 324 * (hu > 0)), "a: the liver has a median of 424 HU, expected -40 to 220; is the"),
        (with_hu(lambda hu: hu - 150 * (hu > 0)), "a: the liver has a median of -50 HU, expected -40 to 220; is the"),
        (with_hu(lambda hu: hu - 900), "a: the liver has a median of -800 HU, expected -40 to 220; is the CT in HU"),
        (lambda c: replace(c, tumor=elsewhere(c)), "voxels of the tumor lie outside the liver; are both masks of"),
        (lambda c: replace(c, vessel=elsewhere(c)), "voxels of the vessel lie outside the liver; are both masks of"),
    ],
)  # fmt: skip
def test_errors(change: Callable[[Case], Case], message: str) -> None:
    case = change(good_case())
    (text,) = texts(case, "error")
    assert text.startswith("a: ")
    assert message in text


def test_headers_in_single_precision_are_no_error() -> None:
    case = good_case()
    rounded = {key: tuple(np.float32(getattr(Grid.of(case.ct), key)).tolist()) for key in ("spacing", "origin")}
    assert examine(replace(case, liver=moved(case.liver, **rounded)), FINE).findings == ()


@pytest.mark.parametrize(
    ("name", "level", "becomes"),
    [("tumor", "warning", "they count as liver"), ("vessel", "note", "they are cut off")],
)
def test_outside_the_liver_in_part(name: str, level: Level, becomes: str) -> None:
    case = replace(good_case(), **{name: getattr(tiny_case("a"), name)})
    mask, liver = sitk.GetArrayFromImage(getattr(case, name)), sitk.GetArrayFromImage(case.liver)
    beyond, count = int((mask & ~liver & 1).sum()), int(mask.sum())
    share = f"{100 * beyond / count:.1f}%"
    expected = f"a: {beyond} of {count} voxels of the {name} ({share}) lie outside the liver; {becomes}"
    assert 0 < beyond < count
    assert [(finding.level, finding.text) for finding in examine(case, FINE).findings] == [(level, expected)]


def test_fewer_slices_than_a_patch() -> None:
    whole, liver = texts(good_case(), "warning", COARSE)
    assert whole.startswith("a: stage 1 gets 21 slices, but a patch has 32, so patches are padded; prepare")
    assert liver.startswith("a: stage 2 gets 23 slices, but a patch has 32")


def test_the_digest_of_a_ct_is_of_its_voxels_alone() -> None:
    case = good_case()

    def ct(case: Case) -> str:
        facts = examine(case, FINE).facts
        assert facts is not None
        return facts.ct

    everything = replace(Grid.of(case.ct), spacing=(1.0, 1.0, 1.0))
    reset = (everything.place(sitk.GetImageFromArray(sitk.GetArrayFromImage(x))) for x in (case.ct, case.liver))
    other_ct, liver = reset
    assert ct(Case("b", other_ct, liver, liver * 0, liver * 0)) == ct(case)
    assert ct(with_hu(lambda hu: hu + (np.arange(hu.size).reshape(hu.shape) == 7))(case)) != ct(case)


def test_one_ct_or_one_patient_twice() -> None:
    cts = {"a": "1", "b": "2", "c": "1", "d": "3", "e": "1"}
    found = repeated(cts, {"a": "p", "b": "q", "c": "r", "d": "q", "e": "p"})
    assert {name: [(f.level, f.text) for f in findings] for name, findings in found.items()} == {
        "c": [("error", "c: has the CT of a, as another patient; remove one of the two")],
        "d": [("warning", "d: is of the same patient as b (q); both go to the same part of the split")],
        "e": [("warning", "e: has the CT of a, of the same patient; if that is a mistake, remove one of the two")],
    }
