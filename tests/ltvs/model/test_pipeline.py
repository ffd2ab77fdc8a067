"""From a CT to labels in its own grid, with networks whose answer is known."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import ltvs.model.pipeline
from ltvs.dataset.one_case import compose_labels
from ltvs.model.computing import best_device
from ltvs.model.pipeline import NoLiverError, Pipeline
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.images import same_grid
from ltvs.volume.labels import TUMOR, VESSEL
from ltvs.volume.resampling import resample
from support.known_networks import PATCH, PREPARATION, hu_of, known_stages
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, ball, center, image, tiny_case


@pytest.fixture
def known_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = known_stages(PREPARATION, PATCH)
    monkeypatch.setattr(ltvs.model.pipeline, "load_stage", lambda run, stage: stages[stage])


def painted(direction: np.ndarray = SIGNED_PERMUTATIONS[0]) -> tuple[sitk.Image, sitk.Image]:
    """A CT in which every label has its own HU, and the labels."""
    labels = compose_labels(tiny_case(direction=direction))
    ct = sitk.GetImageFromArray(hu_of(sitk.GetArrayViewFromImage(labels)))
    ct.CopyInformation(labels)
    return ct, labels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("direction", [*SIGNED_PERMUTATIONS[::7], *OBLIQUE])
@pytest.mark.usefixtures("known_networks")
def test_what_the_networks_find_comes_back_in_place(direction: np.ndarray) -> None:
    ct, labels = painted(direction)
    predicted = Pipeline.load(Path("run"), "cpu", smallest_liver=1.0).label(ct)
    assert same_grid(predicted, ct)
    assert predicted.GetPixelID() == sitk.sitkUInt8
    found, truth = sitk.GetArrayFromImage(predicted), sitk.GetArrayFromImage(labels)
    for mask, expected in (
        (found > 0, truth > 0),
        (found == TUMOR, truth == TUMOR),
        (found == VESSEL, truth == VESSEL),
    ):
        # The vessel also gets the blurred rim of the tumor; the overlap is best in place, not a voxel beside it.
        overlap = dice(mask, expected)
        assert overlap > 0.8
        assert overlap > max(dice(mask, np.roll(expected, step, axis)) for axis in range(3) for step in (-1, 1))


@pytest.mark.usefixtures("known_networks")
def test_what_lies_apart_from_the_liver_is_left_out() -> None:
    ct, labels = painted()
    hu = sitk.GetArrayFromImage(ct)
    hu[:3, :4, :5] = 150
    spleen = sitk.GetImageFromArray(hu)
    spleen.CopyInformation(ct)
    predicted = sitk.GetArrayFromImage(Pipeline.load(Path("run"), "cpu", smallest_liver=1.0).label(spleen))
    assert not predicted[:3, :4, :5].any()
    assert dice(predicted > 0, sitk.GetArrayFromImage(labels) > 0) > 0.97


@pytest.mark.usefixtures("known_networks")
def test_a_device_that_is_none() -> None:
    with pytest.raises(InputError, match="--device: expected cpu, cuda, cuda:1 or mps; got 'gpu'"):
        Pipeline.load(Path("run"), "gpu")


@pytest.mark.usefixtures("known_networks")
def test_a_ct_without_liver() -> None:
    ct = sitk.GetImageFromArray(hu_of(np.zeros((9, 10, 11), np.uint8)))
    with pytest.raises(NoLiverError, match="stage 1 finds no liver in this CT: 0 ml, expected at least 100"):
        Pipeline.load(Path("run"), "cpu").label(ct)
    with pytest.raises(NoLiverError, match="stage 1 finds no liver in this CT: 0 ml"):
        Pipeline.load(Path("run"), "cpu", smallest_liver=0.0).label(ct)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hu: 1 * (hu > 0) + (hu > 120), "expected HU, got a CT of 0 to 2, a picture of 8 bits or a label map"),
        (lambda hu: hu + 1024, "expected HU, got a CT of 24 to 1264, air and fat are below 0 HU; it may be an MR"),
        (lambda hu: hu / 100, "expected HU, got a CT of -10 to 2, fat is below -50 HU; was it scaled"),
        (lambda hu: hu / 10, "expected HU, got a CT of -100 to 24 without air, which is below -150 HU; was it scaled"),
        (
            lambda hu: np.where(hu > 0, 424, hu),
            "expected HU; the liver has a median of 424 HU, expected -40 to 220; apply the rescale slope and "
            "intercept, or give --force to take it as it is",
        ),
    ],
)
@pytest.mark.usefixtures("known_networks")
def test_values_that_are_not_hu(change: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    """Also where the networks would find something in them, as they do in a label map."""
    painted_ct, _ = painted()
    ct = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(painted_ct)).astype(np.int16))
    ct.CopyInformation(painted_ct)
    pipeline = Pipeline.load(Path("run"), "cpu", smallest_liver=1.0)
    with pytest.raises(InputError, match=re.escape(message)):
        pipeline.label(ct)
    _, labels = painted()
    with pytest.raises(InputError, match=re.escape(message)):
        pipeline.label(ct, labels > 0)
    assert same_grid(pipeline.label(ct, labels > 0, force=True), ct)


@pytest.mark.usefixtures("known_networks")
def test_a_body_that_is_too_small_for_a_liver() -> None:
    """Whatever the number of voxels: volumes are in ml."""
    ct, labels = painted()
    ml = float((sitk.GetArrayViewFromImage(labels) > 0).sum() * np.prod(ct.GetSpacing()) / 1000)
    assert 5 < ml < 6
    with pytest.raises(NoLiverError, match=rf"no liver in this CT: {ml:.2f}? ml|no liver in this CT: 5\.\d+ ml"):
        Pipeline.load(Path("run"), "cpu").label(ct)
    ct.SetSpacing([3 * mm for mm in ct.GetSpacing()])
    assert sitk.GetArrayFromImage(Pipeline.load(Path("run"), "cpu").label(ct)).any()


@pytest.mark.usefixtures("known_networks")
def test_slices_of_five_millimeters() -> None:
    ct, labels = painted()
    thick = Grid((28, 25, 9), (1.3, 1.5, 5.0), ct.GetOrigin(), ct.GetDirection())
    ct, labels = (resample(image, thick, outside=outside, nearest=True) for image, outside in ((ct, -80), (labels, 0)))
    predicted = sitk.GetArrayFromImage(Pipeline.load(Path("run"), "cpu", smallest_liver=1.0).label(ct))
    truth = sitk.GetArrayFromImage(labels)
    assert dice(predicted > 0, truth > 0) > 0.9
    assert dice(predicted == TUMOR, truth == TUMOR) > 0.6


@pytest.mark.usefixtures("known_networks")
def test_a_notch_of_soft_tissue_becomes_liver() -> None:
    """A tumor at the surface, as dark as what stage 1 leaves out, in a liver large enough for a closing."""
    where = Grid((40, 38, 36), (4.0, 4.1, 4.2), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    liver = ball(where, center(where), 60)
    bite = liver & ball(where, np.add(center(where), (52, 0, 0)), 18)
    hu = hu_of(liver.astype(np.uint8))
    for value, share in ((-80, 0.0), (30, 0.7)):
        # Below 10 HU, halfway from fat to liver, is what the first network leaves out.
        hu[bite] = value
        found = sitk.GetArrayFromImage(Pipeline.load(Path("run"), "cpu").label(image(hu, where))) > 0
        assert (found & bite).sum() / bite.sum() >= share
        if value == -80:
            assert (found & bite).sum() / bite.sum() < 0.3


@pytest.mark.usefixtures("known_networks")
def test_bodies_are_told_from_the_largest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The liver and a second body of 60 voxels; a third of 2 voxels is passed over."""
    ct, labels = painted()
    smallest = 20 * float(np.prod(ct.GetSpacing())) / 1000
    monkeypatch.setattr(ltvs.model.pipeline, "SMALLEST_BODY", smallest)
    hu = sitk.GetArrayFromImage(ct)
    hu[:3, :4, :5] = hu[-2:, -1:, -1:] = 150
    other = sitk.GetImageFromArray(hu)
    other.CopyInformation(ct)
    pipeline = Pipeline.load(Path("run"), "cpu", smallest_liver=1.0)
    found = pipeline.find(other)
    liver = float((sitk.GetArrayFromImage(labels) > 0).sum() * np.prod(ct.GetSpacing()) / 1000)
    assert len(found.bodies) == 2
    # Edges move by half a voxel of the network's grid at most.
    assert found.bodies[0] == pytest.approx(liver, rel=0.15)
    assert found.bodies[0] > found.bodies[1] >= smallest
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found.labels), sitk.GetArrayFromImage(pipeline.label(other)))
    assert pipeline.find(other, labels > 0).bodies == ()


@pytest.mark.usefixtures("known_networks")
def test_progress_names_the_step() -> None:
    ct, labels = painted()
    pipeline = Pipeline.load(Path("run"), "cpu", smallest_liver=1.0)
    told: list[tuple[str, int, int]] = []
    pipeline.label(ct, progress=lambda *of: told.append(of))
    steps = list(dict.fromkeys(step for step, _, _ in told))
    assert steps == ["liver", "vessels and tumors"]
    for step in steps:
        of_step = [(done, in_all) for name, done, in_all in told if name == step]
        assert of_step[0] == (0, of_step[-1][1])
        assert of_step[-1][0] == of_step[-1][1]
        assert sorted(set(of_step)) == of_step
    told.clear()
    pipeline.label(ct, labels > 0, progress=lambda *of: told.append(of))
    assert {step for step, _, _ in told} == {"vessels and tumors"}


@pytest.mark.usefixtures("known_networks")
def test_the_liver_is_not_looked_for_in_mirror_images(monkeypatch: pytest.MonkeyPatch) -> None:
    predict, mirrored = ltvs.model.pipeline.predict_probabilities, []

    def noted(*arguments, **options):
        mirrored.append(options["mirror"])
        return predict(*arguments, **options)

    monkeypatch.setattr(ltvs.model.pipeline, "predict_probabilities", noted)
    Pipeline.load(Path("run"), "cpu", smallest_liver=1.0, mirror=True).label(painted()[0])
    assert mirrored == [False, True]


@pytest.mark.usefixtures("known_networks")
def test_mirror_images_of_voxels_that_stand_alone_change_nothing() -> None:
    ct, _ = painted()
    plain, mirrored = (
        Pipeline.load(Path("run"), "cpu", smallest_liver=1.0, mirror=mirror).label(ct) for mirror in (False, True)
    )
    # But for rounding, where two classes are equally likely.
    differ = sitk.GetArrayViewFromImage(plain) != sitk.GetArrayViewFromImage(mirrored)
    assert differ.mean() < 1e-3


@pytest.mark.usefixtures("known_networks")
def test_a_precision_that_is_none() -> None:
    with pytest.raises(InputError, match="--precision: expected auto, 32, bf16-mixed, 16-mixed; got '64'"):
        Pipeline.load(Path("run"), "cpu", precision="64")


@pytest.mark.usefixtures("known_networks")
def test_the_device_is_the_best_one_unless_given() -> None:
    assert Pipeline.load(Path("run")).device == best_device()


def test_the_pipeline_is_imported_when_it_is_asked_for() -> None:
    import ltvs.model

    assert ltvs.model.Pipeline is Pipeline
    with pytest.raises(AttributeError, match="has no attribute 'Pipelines'"):
        _ = ltvs.model.Pipelines
