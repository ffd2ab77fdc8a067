"""What passes for HU: real CTs and phantoms as people have them do, and what is wrong with others is said."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy import ndarray
from scipy import ndimage

from ltvs.sources.ircadb import ircadb
from ltvs.volume.case import Case
from ltvs.volume.hounsfield import not_hu, not_liver
from ltvs.volume.images import read_ct, read_mask

Change = Callable[[ndarray, ndarray], ndarray]


def around_liver(hu: ndarray, liver: ndarray, margin: int) -> ndarray:
    inside = np.argwhere(liver)
    low, high = np.maximum(inside.min(0) - margin, 0), inside.max(0) + 1 + margin
    return hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def padded(hu: ndarray, value: int) -> ndarray:
    """Filled outside the circle that a scanner reconstructs."""
    _, rows, columns = hu.shape
    y, x = np.ogrid[:rows, :columns]
    outside = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 > (min(rows, columns) / 2) ** 2
    return np.where(outside, value, hu)


def resampled(hu: ndarray) -> ndarray:
    """By cubic splines, which overshoot at edges and leave no whole numbers."""
    return ndimage.zoom(hu.astype(np.float32), (0.8, 0.7, 0.9), order=3)


GOOD: dict[str, Change] = {
    "as it is": lambda hu, liver: hu,
    "the liver alone": lambda hu, liver: around_liver(hu, liver, 0),
    "the liver and what is around it": lambda hu, liver: around_liver(hu, liver, 6),
    "lower half": lambda hu, liver: hu[: len(hu) // 2],
    "upper half": lambda hu, liver: hu[len(hu) // 2 :],
    **{f"padding of {value}": lambda hu, liver, value=value: padded(hu, value)
       for value in (-1024, -1200, -2000, -2048, -3024, -32768)},
    **{f"clipped to {window}": lambda hu, liver, window=window: np.clip(hu, *window)
       for window in ((-160, 240), (-150, 250), (-200, 300), (-500, 500), (-1000, 1000))},
    "resampled": lambda hu, liver: resampled(hu),
    "padded, then resampled": lambda hu, liver: resampled(padded(hu, -3024)),
    "air alone": lambda hu, liver: np.full_like(hu, -1000),
    "much noise": lambda hu, liver: hu + np.random.default_rng(0).normal(0, 60, hu.shape),
    "metal": lambda hu, liver: np.where(np.arange(hu.shape[2]) < 4, 3071, hu),
}  # fmt: skip

#: What is said, as patterns.
INTERCEPT = "air and fat are below 0 HU; it may be an MR volume, or a CT without its rescale intercept$"
PICTURE = "a picture of 8 bits or a label map and not HU; export the CT itself$"
SCALED = r"fat is below -50 HU; was it scaled\? export the CT itself$"
NO_AIR = r"without air, which is below -150 HU; was it scaled, or is it no CT\? export the CT itself$"
NO_TISSUE = "without fat and soft tissue, which are at -200 to 300 HU; apply the rescale slope and intercept once$"
DENSE = r"\d\d% of its voxels above 500 HU, .* was it inverted, or is its intercept missing\? export the CT itself$"
AIR = r"whose air is at -\d+ HU, expected -1000; is its slope or intercept wrong\? export the CT itself$"
NEITHER = r"with neither air at -1000 HU nor fat at -100; is its slope or intercept wrong\? export the CT itself$"

BAD: dict[str, tuple[Change, str]] = {
    "stored values": (lambda hu, liver: hu + 1024, INTERCEPT),
    "stored values with padding": (lambda hu, liver: padded(hu + 1024, -2000), INTERCEPT),
    "stored values, the space around at -1000": (lambda hu, liver: padded(hu + 1024, -1000), DENSE),
    "intercept twice": (lambda hu, liver: hu - 1024, f"{AIR}|{NO_TISSUE}"),
    "slope 2 of stored values": (lambda hu, liver: 2 * (hu + 1024) - 1024, f"{DENSE}|{NO_TISSUE}"),
    "slope 2": (lambda hu, liver: 2 * hu, AIR),
    "slope 2 with padding": (lambda hu, liver: padded(2 * hu, -3024), AIR),
    "slope 4": (lambda hu, liver: 4 * hu, f"{AIR}|{DENSE}"),
    "slope 0.5": (lambda hu, liver: hu / 2, f"{AIR}|{NEITHER}"),
    "slope 0.3": (lambda hu, liver: 0.3 * hu, NEITHER),
    "slope 0.1": (lambda hu, liver: hu / 10, f"{NO_AIR}|{SCALED}"),
    "100 too high": (lambda hu, liver: hu + 100, f"{AIR}|{NEITHER}"),
    "100 too low": (lambda hu, liver: hu - 100, AIR),
    "200 too low": (lambda hu, liver: hu - 200, AIR),
    "inverted": (lambda hu, liver: -hu, DENSE),
    "0 to 1": (lambda hu, liver: (hu + 1024) / 4096, PICTURE),
    "-1 to 1": (lambda hu, liver: (hu + 1024) / 2048 - 1, SCALED),
    "z-scores": (lambda hu, liver: (hu - hu.mean()) / hu.std(), f"{SCALED}|{PICTURE}"),
    "8 bits": (lambda hu, liver: 255 * np.clip((hu + 160) / 400, 0, 1), PICTURE),
    "16 bits": (lambda hu, liver: 32767 * np.clip((hu + 160) / 400, 0, 1), INTERCEPT),
    "clipped below fat": (lambda hu, liver: np.clip(hu, -100, 240), NO_AIR),
    "a label map": (lambda hu, liver: 3 * liver, PICTURE),
    "an MR volume": (lambda hu, liver: np.random.default_rng(0).gamma(2, 200, hu.shape).clip(0, 1520) - 20, SCALED),
    "padding alone": (lambda hu, liver: np.full_like(hu, -2000), "CT without a body, all its values are padding"),
}  # fmt: skip


def as_read(values: ndarray) -> ndarray:
    """As `read_ct` gives them."""
    return np.ascontiguousarray(np.clip(values, -32768, 32767).astype(np.int16))


@pytest.fixture(scope="module")
def arrays(phantoms: list[Case]) -> list[tuple[ndarray, ndarray]]:
    """CTs and their livers."""
    return [(sitk.GetArrayFromImage(c.ct).astype(float), sitk.GetArrayFromImage(c.liver) > 0) for c in phantoms]


@pytest.fixture(scope="module")
def real_cts() -> dict[str, tuple[ndarray, ndarray]]:
    """Two real CTs and their livers."""
    place = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not place:
        pytest.skip("CROSSATTN3D_TEST_DATA does not say where real CTs are")
    (entry,) = ircadb(Path(place) / "3Dircadb1.17.zip").values()
    case = entry.load()
    chaos = read_ct(Path(place) / "chaos-ct.nii.gz"), read_mask(Path(place) / "chaos-liver.nii.gz")
    return {
        name: (sitk.GetArrayFromImage(ct).astype(np.float32), sitk.GetArrayFromImage(liver) > 0)
        for name, (ct, liver) in {"3D-IRCADb 17": (case.ct, case.liver), "CHAOS": chaos}.items()
    }


@pytest.mark.parametrize("change", GOOD)
def test_phantoms_as_people_have_them_pass(arrays: list[tuple[ndarray, ndarray]], change: str) -> None:
    for hu, liver in arrays:
        assert not_hu(as_read(GOOD[change](hu, liver))) is None


@pytest.mark.parametrize("change", BAD)
def test_what_is_wrong_is_said(arrays: list[tuple[ndarray, ndarray]], change: str) -> None:
    make, message = BAD[change]
    for hu, liver in arrays:
        reason = not_hu(as_read(make(hu, liver)))
        assert reason is not None
        assert re.search(message, reason), reason


@pytest.mark.parametrize("median", [-40, -20, 55, 141, 220])
def test_livers(median: float) -> None:
    assert not_liver(median) is None


@pytest.mark.parametrize("median", [-100, -41, 221, 282, 1124])
def test_what_is_no_liver(median: float) -> None:
    assert not_liver(median) == f"the liver has a median of {median} HU, expected -40 to 220"


@pytest.mark.slow
@pytest.mark.parametrize("change", GOOD)
def test_real_cts_pass(real_cts: dict[str, tuple[ndarray, ndarray]], change: str) -> None:
    for hu, liver in real_cts.values():
        assert not_hu(as_read(GOOD[change](hu, liver))) is None


@pytest.mark.slow
@pytest.mark.parametrize("change", BAD)
def test_real_cts_that_were_changed_do_not(real_cts: dict[str, tuple[ndarray, ndarray]], change: str) -> None:
    for hu, liver in real_cts.values():
        assert not_hu(as_read(BAD[change][0](hu, liver))) is not None
