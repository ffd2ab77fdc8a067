"""A synthetic patient: the same on every canvas, whole from neck to thigh, with its organs where they belong."""

import numpy as np
import pytest

from ltvs.anatomy.canvas import Canvas
from ltvs.anatomy.patient import Patient
from ltvs.anatomy.tissues import LIVER_TISSUES, LIVER_VESSELS, Tissue


def canvas(voxel: float, low: float = -400, high: float = 370, shift: float = 0.0) -> Canvas:
    x, y, z = (np.arange(a + shift, b, voxel).astype(np.float32) for a, b in ((-200, 200), (-170, 180), (low, high)))
    return Canvas(x, y, z)


def painted(seed: int, voxel: float = 8.0) -> Canvas:
    volume = canvas(voxel)
    Patient.draw((seed,), 380.0).paint(volume)
    return volume


@pytest.fixture(scope="module")
def bodies() -> list[Canvas]:
    return [painted(seed) for seed in range(4)]


def middle(volume: Canvas, *tissues: Tissue) -> np.ndarray:
    """Return the mean x, y, z of the voxels of some tissues, mm."""
    z, y, x = np.nonzero(np.isin(volume.tissue, tissues))
    return np.array([volume.x[x].mean(), volume.y[y].mean(), volume.z[z].mean()])


def test_the_seed_decides_the_patient(bodies: list[Canvas]) -> None:
    assert np.array_equal(painted(1).tissue, bodies[1].tissue)
    assert not np.array_equal(bodies[0].tissue, bodies[1].tissue)


def test_a_patient_is_the_same_on_every_canvas(bodies: list[Canvas]) -> None:
    # Every second voxel of a canvas twice as fine lies where a voxel of the other lies.
    fine = Canvas(*(np.arange(a, b, 4.0).astype(np.float32) for a, b in ((-200, 200), (-170, 180), (-160, 112))))
    Patient.draw((1,), 380.0).paint(fine)
    first = int(np.flatnonzero(bodies[1].z == -160)[0])
    coarse = bodies[1].tissue[first : first + 34]
    assert np.array_equal(fine.tissue[::2, ::2, ::2], coarse)


def test_every_organ_is_there(bodies: list[Canvas]) -> None:
    counts = sum(np.bincount(volume.tissue.ravel(), minlength=len(Tissue)) for volume in bodies)
    missing = {Tissue(i).name for i in np.flatnonzero(counts == 0)}
    # Thinner than a voxel here, or not in every patient.
    assert missing <= {"PLAQUE", "ADRENAL", "TABLE", "FOAM", "FLUID", "CORD", "BILE"}


def test_organs_lie_where_they_belong(bodies: list[Canvas]) -> None:
    for volume in bodies:
        liver, spleen = middle(volume, *LIVER_TISSUES), middle(volume, Tissue.SPLEEN)
        lungs, kidneys = middle(volume, Tissue.LUNG), middle(volume, Tissue.CORTEX)
        assert liver[0] < -20 < 20 < spleen[0]  # the liver on the patient's right
        assert lungs[2] > liver[2] > kidneys[2] > middle(volume, Tissue.URINE)[2]
        assert kidneys[1] > liver[1]  # behind the liver


def test_some_hearts_lie_on_the_liver_and_some_beside_it() -> None:
    # How far a heart reaches below the top of the liver, mm.
    deep = []
    for seed in range(6):
        volume = Canvas(*(np.arange(a, b, 5.0).astype(np.float32) for a, b in ((-200, 200), (-170, 180), (-60, 160))))
        Patient.draw((seed,), 380.0).paint(volume)
        top = volume.z[np.isin(volume.tissue, LIVER_TISSUES).any(axis=(1, 2))].max()
        heart = volume.z[np.isin(volume.tissue, (Tissue.HEART, Tissue.HEART_BLOOD)).any(axis=(1, 2))].min()
        deep.append(top - heart)
    assert min(deep) < 35
    assert max(deep) >= 40


def test_the_liver_is_as_large_as_livers_are(bodies: list[Canvas]) -> None:
    for volume in bodies:
        liters = np.isin(volume.tissue, LIVER_TISSUES).sum() * 8**3 / 1e6
        assert 0.7 < liters < 3.2
        share = np.isin(volume.tissue, LIVER_VESSELS).sum() / np.isin(volume.tissue, LIVER_TISSUES).sum()
        assert 0.01 < share < 0.12


def test_a_body_ends_in_a_neck_and_two_legs(bodies: list[Canvas]) -> None:
    for volume in bodies:
        inside = ~np.isin(volume.tissue, [Tissue.AIR, Tissue.TABLE, Tissue.FOAM])
        width = inside.any(axis=1).sum(axis=1) * 8.0
        abdomen = width[np.searchsorted(volume.z, 0.0)]
        assert width[-1] < 0.6 * abdomen
        legs = inside[np.searchsorted(volume.z, -390.0)]
        columns = np.flatnonzero(legs.any(axis=0))
        assert (np.diff(columns) > 1).any() or legs[:, len(volume.x) // 2].sum() < 4
