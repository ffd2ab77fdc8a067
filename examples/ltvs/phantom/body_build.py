"""A patient's build: size and place of skin, body wall, spine and diaphragm."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.phantom.canvas import Level, ellipsoid, smooth_min


@dataclass(frozen=True)
class Build:
    """A patient's build.

    Args:
        half_width, half_depth: of the body, mm.
        fat: thickness of the fat under the skin at the sides, mm.
        scale: size of the organs; 1 is average.
        dome: height of the right diaphragm above the porta hepatis, mm.
    """

    half_width: float
    half_depth: float
    fat: float
    scale: float
    dome: float

    @property
    def spine(self) -> float:
        """y of the middle of the vertebrae, mm."""
        return 0.40 * self.half_depth

    @property
    def wall(self) -> float:
        """Thickness of fat, muscle and ribs at the sides, mm."""
        return self.fat + 16 * self.scale

    def outline(self, x: ndarray, y: ndarray) -> ndarray:
        """Return mm to the skin, positive inside: flat at the back, with a furrow along the spine."""
        furrow = 5 * np.exp(-((x / (16 * self.scale)) ** 2)) * (y > 0)
        return np.asarray(_rounded_box(x, y, self.half_width, self.half_depth) - furrow)

    def cavity(self, x: ndarray, y: ndarray) -> ndarray:
        """Return mm to the inner surface of the body wall, positive inside; the back muscles indent it."""
        s = self.scale
        inner = _rounded_box(
            x, y + 0.05 * self.half_depth, self.half_width - self.wall, self.half_depth - 0.8 * self.wall
        )
        for side in (-1, 1):
            inner = smooth_min(inner, -self.back_muscle(side)(x, y, np.zeros_like(x)), 5 * s)
        return inner

    def back_muscle(self, side: int) -> Level:
        """Return one of the two columns of muscle behind the transverse processes."""
        s = self.scale
        return ellipsoid((side * 31 * s, self.spine + 43 * s, 0), (33 * s, 22 * s, 1e4), 0.12 * side)

    def diaphragm(self, x: ndarray, y: ndarray) -> ndarray:
        """Return the height of the diaphragm, mm: a dome on either side, the right one higher, low at the wall."""
        s = self.scale
        right = self.dome - 0.010 / s * ((x + 62 * s) ** 2 + 1.1 * (y + 5 * s) ** 2)
        left = self.dome - 18 * s - 0.012 / s * ((x - 72 * s) ** 2 + 1.1 * (y - 5 * s) ** 2)
        middle = self.dome - 30 * s - 0.004 / s * (x**2 + (y + 30 * s) ** 2)
        return np.asarray(np.maximum(np.maximum(right, left), middle))


def _rounded_box(x: ndarray, y: ndarray, a: float, b: float) -> ndarray:
    """Return mm to a superellipse, positive inside; it is squarer at the back than at the front."""
    power = np.where(y > 0, 2.7, 2.2)
    ratio = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power)
    return np.asarray((1 - ratio) * b)
