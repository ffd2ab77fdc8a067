"""Everything around the liver: body wall, skeleton, lungs, and the organs of the upper abdomen."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.phantom.space import Space, ellipsoid, smooth_min, waves

#: How far back the vertebrae lie, as a part of half the body's depth.
SPINE = 0.40

FAT, MUSCLE, FLUID, GAS, LUNG = -102.0, 58.0, 12.0, -920.0, -850.0


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

    def cavity(self, x: ndarray, y: ndarray) -> ndarray:
        """mm to the inner side of the body wall, positive inside."""
        wall = self.fat + 16 * self.scale
        return _rounded_box(x, y + 0.05 * self.half_depth, self.half_width - wall, self.half_depth - 0.8 * wall)

    def outline(self, x: ndarray, y: ndarray) -> ndarray:
        """mm to the skin, positive inside."""
        return _rounded_box(x, y, self.half_width, self.half_depth)

    def diaphragm(self, x: ndarray, y: ndarray) -> ndarray:
        """Height of the diaphragm, mm: a dome on either side, the right one higher, low at the wall."""
        s = self.scale
        right = self.dome - 0.010 / s * ((x + 62 * s) ** 2 + 1.1 * (y + 5 * s) ** 2)
        left = self.dome - 18 * s - 0.012 / s * ((x - 72 * s) ** 2 + 1.1 * (y - 5 * s) ** 2)
        middle = self.dome - 30 * s - 0.004 / s * (x**2 + (y + 30 * s) ** 2)
        return np.maximum(np.maximum(right, left), middle)


def _rounded_box(x: ndarray, y: ndarray, a: float, b: float) -> ndarray:
    ratio = (np.abs(x / a) ** 2.3 + np.abs(y / b) ** 2.3) ** (1 / 2.3)
    return (1 - ratio) * b


def paint_body(space: Space, build: Build, rng: np.random.Generator) -> None:
    """Paint all but the liver, its vessels and its tumours."""
    everything = space.box((-1e4,) * 3, (1e4,) * 3)
    x, y, z = space.coordinates(everything)
    _paint_wall(space, build, rng)
    ripple = waves(rng, 4.0 * build.scale, 55 * build.scale)(x, y, z)
    cavity = build.cavity(x, y) + 0.2 * ripple
    space.paint(everything, cavity, FAT + 6 + 0.8 * ripple)
    _paint_bowel(space, build, rng)
    _paint_organs(space, build, rng)
    lungs = smooth_min(cavity + 2, z - build.diaphragm(x, y) - 0.25 * ripple, 4.0)
    markings = 45 * np.clip(waves(rng, 1.0, 16 * build.scale, 9)(x, y, z) - 1.1, 0, None)
    space.paint(everything, lungs, LUNG + 9 * markings)
    _paint_skeleton(space, build, rng)


def _paint_wall(space: Space, build: Build, rng: np.random.Generator) -> None:
    """Skin, fat, and the muscles of the wall and the back; a table below."""
    s = build.scale
    everything = space.box((-1e4,) * 3, (1e4,) * 3)
    x, y, z = space.coordinates(everything)
    outline = build.outline(x, y) + waves(rng, 1.2, 130)(x, y, z)
    space.paint(everything, outline, 20.0)
    space.paint(everything, outline - 2.0, FAT + waves(rng, 5.0, 20)(x, y, z))
    wall = build.cavity(x, y) + (11 * s + 2.5 * np.cos(3 * np.arctan2(y, x)))
    space.paint(everything, np.minimum(wall, outline - 4), MUSCLE + waves(rng, 6.0, 9)(x, y, z))
    for side in (-1, 1):
        for center, radii in (((side * 34, 0.66), (27, 17)), ((side * 70, 0.60), (24, 8))):
            muscle = ellipsoid(
                (center[0] * s, build.half_depth * center[1], 0), (radii[0] * s, radii[1] * s, 1e4), 0.2 * side
            )
            space.paint(everything, np.minimum(muscle(x, y, z) * (1 + 0 * z), outline - 6), MUSCLE + 2)
    top = build.half_depth + 9 + 0.0009 * x**2
    space.paint(everything, 1.2 - np.abs(y - top) + 0 * z, -650.0)
    space.paint(everything, 1.2 - np.abs(y - top - 26) + 0 * z, -700.0)


def _paint_skeleton(space: Space, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    back = SPINE * build.half_depth
    pitch = 31 * s
    phase = rng.uniform(0, pitch)
    box = space.box((-52 * s, back - 30 * s, -1e4), (52 * s, build.half_depth - 6, 1e4))
    x, y, z = space.coordinates(box)
    along = (z + phase) % pitch - pitch / 2
    waist = 2.5 * s * np.cos(2 * np.pi * along / pitch)
    body = ellipsoid((0, back, 0), (23 * s, 17 * s, 1e5))(x, y, 0 * z) - waist
    bone = np.minimum(body, pitch / 2 - 4 * s - np.abs(along))
    marrow = 175 + waves(rng, 22, 5)(x, y, z)
    space.paint(box, body, 85.0)
    space.paint(box, bone, 420.0)
    space.paint(box, bone - 1.8 * s, marrow)
    arch_height = 9 * s - np.abs(along - 4 * s)
    canal = ellipsoid((0, back + 25 * s, 0), (9.5 * s, 9 * s, 1e5))(x, y, 0 * z)
    arch = np.minimum(6 * s - np.abs(canal + 5 * s), arch_height + 6 * s)
    spinous = np.minimum(np.minimum(4 * s - np.abs(x), 17 * s - np.abs(y - back - 50 * s)), arch_height)
    transverse = np.minimum(
        np.minimum(4 * s - np.abs(y - back - 26 * s - 0.12 * np.abs(x)), 42 * s - np.abs(x)), arch_height - 3 * s
    )
    for part in (arch, transverse, spinous):
        space.paint(box, part, 380.0)
        space.paint(box, part - 1.6 * s, 210.0)
    space.paint(box, canal, 28.0)
    space.paint(box, canal - 3.5 * s, 42.0)
    _paint_ribs(space, build, rng, pitch, phase)


def _paint_ribs(space: Space, build: Build, rng: np.random.Generator, pitch: float, phase: float) -> None:
    s = build.scale
    wall = build.fat + 16 * s
    a, b = build.half_width - wall + 5.5 * s, build.half_depth - 0.8 * wall + 4.5 * s
    low, high = float(space.z[0]), float(space.z[-1])
    drop = rng.uniform(70, 90) * s
    for side in (-1, 1):
        for k in range(int(np.floor((low - 10) / pitch)), int(np.ceil((high + drop) / pitch)) + 1):
            start = k * pitch - phase
            if start < -30 * s:  # below the last rib
                continue
            reach = 2.5 if start > 40 * s else 1.9
            angles = np.linspace(0.22, reach, int(60 * s * reach))
            px = side * a * np.sin(angles) ** 0.95
            py = b * np.cos(angles) - 0.05 * build.half_depth + 3 * s
            pz = start - drop * (1 - np.cos(angles * 0.75)) + 4 * s
            level_box = _tube(space, px, py, pz, 5.2 * s)
            for box, level in level_box:
                space.paint(box, level, 360.0)
            for box, level in level_box:
                space.paint(box, level - 1.8 * s, 130.0)


def _tube(
    space: Space, px: ndarray, py: ndarray, pz: ndarray, radius: float
) -> list[tuple[tuple[slice, slice, slice], ndarray]]:
    """A rib in overlapping short pieces: flattened balls, higher than thick."""
    pieces = []
    for cx, cy, cz in zip(px, py, pz, strict=True):
        reach = radius + 2
        if not space.z[0] - reach < cz < space.z[-1] + reach:
            continue
        outward = np.array([cx, cy]) / max(np.hypot(cx, cy), 1e-6)

        def ball(x: ndarray, y: ndarray, z: ndarray, c: tuple = (cx, cy, cz), n: ndarray = outward) -> ndarray:
            across = (x - c[0]) * n[0] + (y - c[1]) * n[1]
            along = -(x - c[0]) * n[1] + (y - c[1]) * n[0]
            return radius - np.sqrt((1.5 * across) ** 2 + along**2 + (z - c[2]) ** 2)

        pieces.append(space.level(ball, (cx - reach, cy - reach, cz - reach), (cx + reach, cy + reach, cz + reach)))
    return pieces


def _paint_organs(space: Space, build: Build, rng: np.random.Generator) -> None:
    s = build.scale
    blood = rng.uniform(140, 165)

    def organ(
        center: tuple, radii: tuple, hu: float, bumps: float = 2.0, tilt: float = 0.0, grain: float = 3.0
    ) -> tuple:
        center, radii = np.multiply(center, s), np.multiply(radii, s)
        shape, bump = ellipsoid(center, radii, tilt), waves(rng, bumps * s, 45 * s)
        reach = max(radii[:2]) + 6 * s
        low, high = center - (reach, reach, radii[2] + 6 * s), center + (reach, reach, radii[2] + 6 * s)
        box, level = space.level(lambda x, y, z: shape(x, y, z) + bump(x, y, z), low, high)
        x, y, z = space.coordinates(box)
        level = np.minimum(level, build.cavity(x, y) - 2)
        space.paint(box, level, hu + waves(rng, grain, 12)(x, y, z))
        return box, level

    organ((12, -62, build.dome / s + 8), (62, 42, 34), 125, 2.0, grain=6)  # heart
    organ((92 + rng.uniform(-6, 6), 42, 22), (30, 46, 50), rng.uniform(112, 128), 3.0, -0.5)  # spleen
    for side in (-1, 1):
        center = (side * 58 + 4, 47, -52 - 10 * (side < 0))
        box, level = organ(center, (27, 25, 52), 185, 1.5, 0.4 * side)
        x, y, z = space.coordinates(box)
        space.paint(box, level - 9 * s, 135.0)
        sinus = ellipsoid(np.multiply((side * 50 + 4, 45, center[2]), s), np.multiply((13, 11, 28), s))
        space.paint(box, sinus(x, y, z) + waves(rng, 3 * s, 14 * s)(x, y, z), FAT + 20)
    box, level = organ((60, -22, 24), (46, 44, 58), 68, 3.0, 0.35)  # stomach: wall, content, gas above it
    x, y, z = space.coordinates(box)
    space.paint(box, level - 5 * s, rng.uniform(15, 45) + waves(rng, 9, 11)(x, y, z))
    space.paint(box, np.minimum(level - 5 * s, -38 * s - y + 0 * (x + z)), GAS)
    organ((14, -14, -26), (52, 12, 15), 96, 4.0, -0.25, grain=8)  # pancreas
    organ((-40, -38, -48), (15, 15, 28), FLUID, 1.0)  # gallbladder
    everything = space.box((2 * s, 5 * s, -1e4), (40 * s, 60 * s, 1e4))  # aorta
    x, y, z = space.coordinates(everything)
    middle = 14 * s + 0.02 * z
    aorta = 10.5 * s - np.hypot(x - middle, y - SPINE * build.half_depth + 29 * s)
    space.paint(everything, aorta, blood)


def _paint_bowel(space: Space, build: Build, rng: np.random.Generator) -> None:
    """Loops in the lower part and in front: wall, content, some with gas."""
    s = build.scale
    for _ in range(70):
        center = np.array([rng.uniform(-105, 110), rng.uniform(-85, 25), rng.uniform(-140, -15)]) * s
        if center[0] < 20 * s:
            center[2] = min(center[2], -66 * s)
        radii = np.array([rng.uniform(11, 25), rng.uniform(10, 17), rng.uniform(11, 20)]) * s
        reach = radii.max() + 4
        shape = ellipsoid(center, radii, rng.uniform(0, np.pi))
        box, level = space.level(shape, center - reach, center + reach)
        x, y, z = space.coordinates(box)
        level = np.minimum(level, build.cavity(x, y) - 3)
        space.paint(box, level, rng.uniform(45, 85))
        content = rng.uniform(5, 45)
        space.paint(box, level - 2.5 * s, content + waves(rng, 12, 9)(x, y, z))
        if rng.random() < 0.3:
            space.paint(box, np.minimum(level - 2.5 * s, center[1] - y + 0 * (x + z)), GAS)
