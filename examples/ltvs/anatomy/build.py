"""A patient's build: size and place of skin, body wall, spine and diaphragm."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.anatomy.canvas import Level, ellipsoid, smooth_max, smooth_min

#: Heights, mm at scale 1, and the width and depth of the trunk there as shares of those at the liver.
_HEIGHTS = (-460.0, -330, -260, -180, -80, 60, 190, 250, 285, 320, 420)
_WIDTHS = (0.96, 1.0, 1.06, 1.0, 0.96, 1.0, 1.02, 1.06, 0.85, 0.42, 0.38)
_DEPTHS = (0.84, 0.92, 1.0, 0.98, 0.97, 1.0, 0.96, 0.84, 0.68, 0.52, 0.50)


@dataclass(frozen=True)
class Build:
    """A patient's build.

    Args:
        half_width: of the body at the height of the liver, mm.
        half_depth: of the body there, mm.
        fat: thickness of the fat under the skin at the sides, mm.
        scale: size of the organs; 1 is average.
        dome: height of the right diaphragm above the porta hepatis, mm.
        sag: depth of the diaphragm's middle, under the heart, below the right dome, mm.
        curve: of the right dome, per mm at scale 1; flat livers reach far to the left, steep ones end beside the heart.
        breasts: radius of the breasts, mm; 0 for none.
        waist: share by which the trunk is narrower between ribs and pelvis than it would be.
    """

    half_width: float
    half_depth: float
    fat: float
    scale: float
    dome: float
    sag: float
    curve: float = 0.010
    breasts: float = 0.0
    waist: float = 0.0

    @property
    def spine(self) -> float:
        """y of the middle of the vertebrae, mm."""
        return 0.40 * self.half_depth

    @property
    def wall(self) -> float:
        """Thickness of fat, muscle and ribs at the sides, mm."""
        return self.fat + 16 * self.scale

    @property
    def shoulders(self) -> float:
        """Height of the shoulder joints, mm."""
        return self.dome + 165 * self.scale

    @property
    def hips(self) -> float:
        """Height of the hip joints, mm."""
        return -285 * self.scale

    def profile(self, z: ndarray) -> tuple[ndarray, ndarray]:
        """Return the width and the depth of the trunk at heights, as shares of those at the liver."""
        s = self.scale
        heights = np.multiply(_HEIGHTS, s)
        waist = 1 - self.waist * np.exp(-(((z + 90 * s) / (55 * s)) ** 2))
        width, depth = np.interp(z, heights, _WIDTHS) * waist, np.interp(z, heights, _DEPTHS)
        return width.astype(np.float32), depth.astype(np.float32)

    def outline(self, x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        """Return mm to the skin, positive inside: flat at the back, with a furrow along the spine; legs below."""
        s = self.scale
        width, depth = self.profile(z)
        furrow = 5 * np.exp(-((x / (16 * s)) ** 2)) * (y > 0)
        trunk = _rounded_box(x / width, y / depth, self.half_width, self.half_depth) - furrow
        if self.breasts:
            for side in (-1, 1):
                center = (side * 0.45 * self.half_width, -0.93 * self.half_depth, self.dome + 5 * s)
                breast = ellipsoid(center, (self.breasts, 0.55 * self.breasts, self.breasts))
                trunk = smooth_max(trunk, breast(x, y, z), 8.0)
        crotch = self.hips - 45 * s - z
        if not (crotch > -20 * s).any():
            return np.asarray(trunk)
        legs = np.maximum(*(self.thigh(side)(x, y, z) for side in (-1, 1)))
        return np.asarray(np.where(crotch > 0, np.minimum(trunk, legs), trunk))

    def thigh(self, side: int) -> Level:
        """Return the skin of one thigh."""
        middle = side * 0.49 * self.half_width
        return ellipsoid((middle, 0.05 * self.half_depth, 0), (0.48 * self.half_width, 0.86 * self.half_depth, 1e5))

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
        right = self.dome - self.curve / s * ((x + 62 * s) ** 2 + 1.1 * (y + 5 * s) ** 2)
        left = self.dome - 18 * s - 0.012 / s * ((x - 72 * s) ** 2 + 1.1 * (y - 5 * s) ** 2)
        middle = self.dome - self.sag - 0.004 / s * (x**2 + (y + 30 * s) ** 2)
        return np.asarray(np.maximum(np.maximum(right, left), middle))


def draw_build(field_of_view: float, rng: np.random.Generator) -> Build:
    """Return a random build that fills a field of view, mm."""
    half_width = 0.5 * field_of_view * rng.uniform(0.86, 0.93)
    # Organs grow less than the body around them.
    scale = (half_width / rng.uniform(152, 176)) ** 0.6
    fat = float(np.exp(rng.uniform(np.log(5), np.log(32)))) * scale
    breasts = float(rng.uniform(45, 75)) * scale if rng.random() < 0.4 else 0.0
    return Build(
        half_width=half_width,
        half_depth=half_width * rng.uniform(0.68, 0.84),
        fat=fat,
        scale=scale,
        dome=rng.uniform(76, 104) * scale,
        sag=rng.uniform(12, 46) * scale,
        breasts=breasts,
        waist=rng.uniform(0, 0.1),
        curve=rng.uniform(0.004, 0.011),
    )


def _rounded_box(x: ndarray, y: ndarray, a: float, b: float) -> ndarray:
    """Return mm to a superellipse, positive inside; it is squarer at the back than at the front."""
    u, v = np.abs(x / np.float32(a)), np.abs(y / np.float32(b))
    behind = y > 0
    power = np.where(behind, np.float32(2.7), np.float32(2.2))
    # Powers of lines, not of volumes; exp and log are several times as fast as a power.
    total = np.where(behind, u**2.7, u**2.2) + v**power
    return np.asarray((1 - np.exp(np.log(np.maximum(total, 1e-9)) / power)) * np.float32(b))
