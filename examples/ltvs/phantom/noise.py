"""The scanner's blur and its correlated noise."""

import numpy as np
from numpy import ndarray
from scipy import ndimage


def blur_and_add_noise(hu: ndarray, deviation: float, rng: np.random.Generator) -> ndarray:
    """Return a volume with a scanner's blur and noise, in which neighbors are correlated, more so within a slice.

    The noise is that of a soft-tissue kernel: correlation about 0.4 to the next voxel in a slice, 0.15 to the second,
    0.25 to the next slice. A coarser part, a fifth of the deviation, stands for streaks and photon starvation.

    Args:
        hu: the volume, (z, y, x).
        deviation: standard deviation of the noise, HU.
        rng: decides the noise.
    """
    fine = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.45, 0.52, 0.52), truncate=3)
    coarse = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.8, 2.0, 2.0), truncate=3)
    fine *= 0.94 * deviation / fine.std()
    coarse *= 0.34 * deviation / coarse.std()
    fine += coarse
    fine += ndimage.gaussian_filter(hu, (0, 0.45, 0.45), truncate=3)
    return np.asarray(fine)
