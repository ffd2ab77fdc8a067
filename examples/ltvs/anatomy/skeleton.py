"""The bones: vertebrae with discs, canal and processes, ribs, breastbone, shoulders and pelvis."""

import numpy as np
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Level, Tissues, ellipsoid, waves
from ltvs.anatomy.tissues import Tissue


def paint_skeleton(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint spine, ribs, breastbone and shoulders."""
    pitch = 31 * build.scale
    phase = rng.uniform(0, pitch)
    _paint_spine(canvas, build, pitch, phase, rng)
    _paint_ribs(canvas, build, pitch, phase, rng)
    _paint_shoulders(canvas, build, rng)


def _paint_spine(canvas: Canvas, build: Build, pitch: float, phase: float, rng: np.random.Generator) -> None:
    s, back, end = build.scale, build.spine, build.hips + 100 * build.scale
    column = ellipsoid((0, back, 0), (22 * s, 16 * s, 1e5))
    canal = ellipsoid((0, back + 24 * s, 0), (9.5 * s, 8.5 * s, 1e5))
    uneven, cortex = waves(rng, 0.9 * s, 22 * s), rng.uniform(0.8, 1.8) * s
    tilt = rng.uniform(0.15, 0.45)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        along = (z + phase) % pitch - pitch / 2
        waist = 2.2 * s * np.cos(2 * np.pi * along / pitch)
        rough = uneven(x, y, z)
        above = z - end
        whole = np.minimum(column(x, y, z) - waist + rough, above)
        body = np.minimum(whole, pitch / 2 - 4 * s - np.abs(along))
        yield whole, Tissue.DISC
        yield body, Tissue.BONE
        yield body - cortex, Tissue.MARROW
        # Pedicles and laminae around the canal, then processes; each is highest at its own height of the vertebra.
        around = 5 * s - np.abs(canal(x, y, z) + 4.5 * s)
        higher = (along - 5 * s) / 11 * s
        arch = around - 4 * s * higher**2 + rough
        spine_drop = along + tilt * (y - back - 24 * s)
        spinous = _bar(x, y - back - 46 * s, 3.6 * s, 16 * s) - 3.5 * s * (spine_drop / (10 * s)) ** 4 + rough
        parts = [arch, spinous]
        for side in (-1, 1):
            u, v = side * x - 27 * s, y - back - 25 * s - 0.35 * (side * x - 27 * s)
            parts.append(_bar(v, u, 4.2 * s, 15 * s) - 3.5 * s * (higher / 0.7) ** 2 + 0.6 * rough)
        bone = np.minimum(np.maximum.reduce(np.broadcast_arrays(*parts)), above)
        yield bone, Tissue.BONE
        yield bone - 1.4 * s, Tissue.MARROW
        yield np.minimum(canal(x, y, z), above), Tissue.FLUID
        yield np.minimum(canal(x, y, z) - 3.2 * s, above), Tissue.CORD

    canvas.paint(layers, (-56 * s, back - 30 * s, -1e4), (56 * s, build.half_depth - 5, 1e4))


def _bar(u: ndarray, v: ndarray, half_thickness: float, half_length: float) -> ndarray:
    """Return mm to the surface of a bar with round ends, `u` across and `v` along it; positive inside."""
    beyond = np.maximum(np.abs(v) - half_length + half_thickness, 0)
    return np.asarray(half_thickness - np.hypot(u, beyond))


def _paint_ribs(canvas: Canvas, build: Build, pitch: float, phase: float, rng: np.random.Generator) -> None:
    s = build.scale
    a, b = build.half_width - build.wall + 5.5 * s, build.half_depth - 0.8 * build.wall + 4.5 * s
    drop = rng.uniform(75, 95) * s
    first = int(np.ceil((phase - 30 * s) / pitch))
    for side in (-1, 1):
        for k in range(first, first + 12):
            start = k * pitch - phase
            jitter, steeper, thick = rng.normal(0, 1.5 * s), rng.uniform(0.9, 1.12), rng.uniform(0.88, 1.1)
            # The two lowest end in the flank; those of the upper chest are shorter.
            reach = 1.9 if start < 40 * s else 2.45
            narrow = 1 - 0.5 * np.clip((start - build.dome - 90 * s) / (100 * s), 0, 1) ** 2
            angles = np.linspace(0.24, reach, int(60 * s * reach))
            x = side * a * narrow * np.sin(angles) ** 0.95
            y = (b * np.cos(angles) - 0.05 * build.half_depth) * (0.5 + 0.5 * narrow) + 3 * s
            z = start + jitter - steeper * drop * (1 - np.cos(angles * 0.78)) + 4 * s
            if start < build.shoulders + 20 * s:
                _paint_rib(canvas, np.stack([x, y, z], axis=1), 5.4 * s * thick, s)
    low, high = build.dome - 20 * s, build.shoulders - 10 * s
    front = -0.05 * build.half_depth - b + 4 * s

    def breastbone(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        along = np.minimum(z - low, high - z)
        level = np.minimum(_bar(y - front - 0.12 * np.maximum(z - low, 0), x, 5.5 * s, 17 * s), along)
        yield level, Tissue.BONE
        yield level - 1.3 * s, Tissue.MARROW

    canvas.paint(breastbone, (-30 * s, front - 20 * s, low), (30 * s, front + 60 * s, high))


def _paint_rib(canvas: Canvas, middles: ndarray, radius: float, s: float) -> None:
    """Paint a rib along its centerline, (n, 3) mm: flattened, cartilage in front."""
    reach = radius + 2
    seen = (middles[:, 2] > canvas.z[0] - reach) & (middles[:, 2] < canvas.z[-1] + reach)
    pieces = []
    for part, (middle, visible) in enumerate(zip(middles, seen, strict=True)):
        if visible:
            normal = middle[:2] / max(float(np.hypot(*middle[:2])), 1e-6)
            region = canvas.region(_flat_ball(middle, normal, radius), middle - reach, middle + reach)
            pieces.append((region, part > 0.82 * len(middles)))
    for region, cartilage in pieces:
        canvas.fill(region, Tissue.CARTILAGE if cartilage else Tissue.BONE)
    for region, cartilage in pieces:
        if not cartilage:
            canvas.fill(region._replace(level=region.level - 1.7 * s), Tissue.MARROW)


def _flat_ball(middle: ndarray, normal: ndarray, radius: float) -> Level:
    """Return a ball flattened along `normal`, (x, y)."""

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v = x - middle[0], y - middle[1]
        across, along = u * normal[0] + v * normal[1], v * normal[0] - u * normal[1]
        return np.asarray(radius - np.sqrt((1.5 * across) ** 2 + along**2 + (z - middle[2]) ** 2))

    return level


def _paint_shoulders(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint shoulder blades, heads of the upper arms and collarbones, inside the skin."""
    s, top = build.scale, build.shoulders
    wide = build.half_width - 26 * s + rng.normal(0, 4)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        inside = build.outline(x, y, z) - 6
        for side in (-1, 1):
            around = ellipsoid((side * wide, 0, top + 5 * s), (46 * s, 40 * s, 50 * s))(x, y, z)
            yield np.minimum(around, inside), Tissue.MUSCLE
            blade = ellipsoid(
                (side * 0.5 * wide, 0.74 * build.half_depth, top - 50 * s), (56 * s, 9 * s, 78 * s), -0.35 * side
            )
            yield np.minimum(blade(x, y, z) + 6 * s, inside), Tissue.MUSCLE
            yield np.minimum(blade(x, y, z), inside), Tissue.BONE
            yield np.minimum(blade(x, y, z) - 2.2 * s, inside), Tissue.MARROW
            head = ellipsoid((side * wide, 0, top), (23 * s, 23 * s, 23 * s))(x, y, z)
            yield np.minimum(head, inside), Tissue.BONE
            yield np.minimum(head - 1.5 * s, inside), Tissue.MARROW
            collar = ellipsoid(
                (side * 0.55 * wide, -0.42 * build.half_depth, top + 22 * s), (66 * s, 8 * s, 8 * s), -0.2 * side
            )
            yield np.minimum(collar(x, y, z), inside), Tissue.BONE

    canvas.paint(layers, (-1e4, -1e4, top - 135 * s), (1e4, 1e4, top + 70 * s))
