"""What the scanner adds: blur and correlated noise."""

import numpy as np
from numpy import ndarray
from scipy import ndimage


def scan(hu: ndarray, deviation: float, rng: np.random.Generator) -> ndarray:
    """Add noise to a volume, in place of a scanner's: neighbors are alike, more so within a slice.

    The shape is that of a soft-tissue kernel: correlation about 0.4 to the next voxel in a slice, 0.15 to the second,
    0.25 to the next slice. A coarser part, a fifth of the deviation, stands for streaks and photon starvation.

    Args:
        hu: the volume, (z, y, x).
        deviation: standard deviation of the noise, HU.
        rng: of the noise.
    """
    fine = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.45, 0.52, 0.52), truncate=3)
    coarse = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.8, 2.0, 2.0), truncate=3)
    fine *= 0.94 * deviation / fine.std()
    coarse *= 0.34 * deviation / coarse.std()
    fine += coarse
    fine += ndimage.gaussian_filter(hu, (0, 0.45, 0.45), truncate=3)
    return np.asarray(fine)
