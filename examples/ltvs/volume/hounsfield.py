"""Whether values can be Hounsfield units (HU): air is at -1000, fat near -100, water at 0, a liver near 100.

Real CTs differ in what they show and in what fills the space around it, and often hold values between whole numbers
because they were resampled. So the checks look at where air, fat and soft tissue are, and at nothing else.
"""

import numpy as np
from jaxtyping import Int16, Int64
from numpy import ndarray

#: The lowest value that int16 holds, the first of every histogram.
_FIRST = -32768

#: Isolated values below this fill the space outside the scan: -1200, -2000, -2048, -3024 or -32768.
_PADDING = -1100

#: HU that fat is below.
_LOWEST_FAT = -50

#: HU that gas, lung and room air are below, even in a CT that was clipped to an abdominal window, and the least share
#: of the voxels that is: a CT of the liver reaches the lung or gas in the bowel.
_AIR, _LEAST_AIR = -150, 0.001

#: HU that lung and air are below in a CT that was not clipped. If this share of the voxels or more is, the place of
#: the air is checked.
_LUNG, _MUCH_AIR = -450, 0.05

#: HU between which clear air is: scanners often clip at -1024, and noise averages out. Air that is too low is searched
#: down to -1500: below that, padding that was resampled would pass for air. What is below by this many times the voxels
#: of clear air is air nevertheless.
_CLEAR_AIR, _BELOW_AIR, _MOST_BELOW = (-1060, -940), -1500, 6

#: HU between which the most frequent value of fat is: -82 to -116 in two real CTs and in phantoms. Fat is checked
#: where a CT was clipped above air, so that air tells nothing. Soft tissue begins at -30 HU.
_FAT, _ABOVE_FAT = (-135, -60), -30

#: HU of fat and soft tissue, and their least share of the voxels.
_TISSUE, _LEAST_TISSUE = (-200, 300), 0.01

#: HU that only dense bone, metal and contrast medium exceed, and their largest share of the voxels: it is half a
#: percent in two real CTs.
_DENSE, _MOST_DENSE = 500, 0.1

#: Median HU of a liver: 55 without contrast, 100 to 150 with it, 180 at 80 kV or with iron, -20 in a very fatty one.
_LIVER = (-40.0, 220.0)


def not_hu(values: Int16[ndarray, "d h w"]) -> str | None:
    """Say why a volume cannot be a CT of an abdomen in HU, or return None if it can.

    Args:
        values: of its voxels.
    """
    counts = _without_padding(_histogram(values))
    there = np.flatnonzero(counts) + _FIRST
    if not there.size:
        return "CT without a body, all its values are padding; export the CT itself"
    low, high = int(there[0]), int(there[-1])
    found = f"CT of {low} to {high}"
    if low >= 0 and high <= 255:
        return f"{found}, a picture of 8 bits or a label map and not HU; export the CT itself"
    if low >= 0:
        return f"{found}, air and fat are below 0 HU; it may be an MR volume, or a CT without its rescale intercept"
    if low > _LOWEST_FAT:
        return f"{found}, fat is below {_LOWEST_FAT} HU; was it scaled? export the CT itself"
    if _share(counts, _FIRST, _AIR + 1) < _LEAST_AIR:
        return f"{found} without air, which is below {_AIR} HU; was it scaled, or is it no CT? export the CT itself"
    if high >= _LUNG and _share(counts, *_TISSUE) < _LEAST_TISSUE:
        return (
            f"{found} without fat and soft tissue, which are at {_TISSUE[0]} to {_TISSUE[1]} HU; apply the rescale "
            "slope and intercept once"
        )
    if (dense := _share(counts, _DENSE, high + 1)) > _MOST_DENSE:
        return (
            f"{found} with {dense:.0%} of its voxels above {_DENSE} HU, which is bone or metal; was it inverted, or is "
            "its intercept missing? export the CT itself"
        )
    return _misplaced(counts, found)


def not_liver(median: float) -> str | None:
    """Say why what is marked as liver cannot be one, or return None if it can.

    Args:
        median: of the CT's values in the liver.
    """
    low, high = _LIVER
    if low <= median <= high:
        return None
    return f"the liver has a median of {median:g} HU, expected {low:g} to {high:g}"


def _misplaced(counts: Int64[ndarray, " value"], found: str) -> str | None:
    """Say that air or fat is at another place than in HU, as after a wrong slope or intercept."""
    remedy = "is its slope or intercept wrong? export the CT itself"
    lowest, (low, high) = _FIRST + int(np.flatnonzero(counts)[0]), _CLEAR_AIR
    air, clear = counts[: _LUNG - _FIRST].sum(), counts[: high - _FIRST].sum()
    clipped = lowest >= _LUNG or counts[lowest - _FIRST] > 0.5 * air
    if air >= _MUCH_AIR * counts.sum() and (clear or not clipped):
        # Lung alone has a hundredth of clear air, in the windpipe or through noise.
        place = _quantile(counts, 0.01 * air) if clear < 0.01 * air else _most_frequent(counts, _BELOW_AIR, high)
        if clear > _MOST_BELOW * counts[low - _FIRST : high - _FIRST].sum():
            place = _quantile(counts, 0.5 * clear)
        if place is None or not low <= place <= high:
            return f"{found} whose air is at {place or lowest} HU, expected -1000; {remedy}"
        return None
    fat = _most_frequent(counts, lowest + 1, _ABOVE_FAT) if clipped else None
    if fat is not None and not _FAT[0] <= fat <= _FAT[1]:
        return f"{found} with neither air at -1000 HU nor fat at -100; {remedy}"
    return None


def _quantile(counts: Int64[ndarray, " value"], voxels: float) -> int:
    """Return the value that this number of voxels is at or below."""
    return _FIRST + int(np.searchsorted(counts.cumsum(), voxels))


def _most_frequent(counts: Int64[ndarray, " value"], low: int, high: int) -> int | None:
    """Return the most frequent value from `low` on and below `high`, averaged over 21 HU; None if there is none."""
    averaged = (
        np.convolve(counts[low - _FIRST : high - _FIRST], np.ones(21), "valid") if high - low >= 21 else np.zeros(1)
    )
    return low + 10 + int(averaged.argmax()) if averaged.any() else None


def _histogram(values: Int16[ndarray, "d h w"]) -> Int64[ndarray, " value"]:
    """Return the number of voxels of each value from -32768 on; slice by slice, as counting takes 8 bytes a voxel."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for plane in values:
        counts += np.bincount(plane.ravel().astype(np.int64) - _FIRST, minlength=counts.size)
    return counts


def _without_padding(counts: Int64[ndarray, " value"]) -> Int64[ndarray, " value"]:
    """Return the counts without values below -1100 that have almost no voxels within 25 HU of them."""
    near = np.convolve(counts, np.ones(51, dtype=np.int64), "same")
    alone = counts > 0.98 * near
    alone[_PADDING - _FIRST :] = False
    return np.where(alone, 0, counts)


def _share(counts: Int64[ndarray, " value"], low: int, high: int) -> float:
    """Return the share of the voxels that have values from `low` on and below `high`."""
    return float(counts[low - _FIRST : high - _FIRST].sum() / counts.sum())
