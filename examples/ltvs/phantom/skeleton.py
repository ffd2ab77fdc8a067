"""The bones: vertebrae with discs, canal and processes, and ribs."""

import numpy as np
from numpy import ndarray

from ltvs.phantom.body_build import Build
from ltvs.phantom.canvas import Canvas, Level, Tissues, ellipsoid, waves

CORTEX = 420.0


def paint_skeleton(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint spine and ribs."""
    pitch = 31 * build.scale
    phase = rng.uniform(0, pitch)
    _paint_spine(canvas, build, pitch, phase, rng)
    _paint_ribs(canvas, build, pitch, phase, rng)


def _paint_spine(canvas: Canvas, build: Build, pitch: float, phase: float, rng: np.random.Generator) -> None:
    s, back = build.scale, build.spine
    column = ellipsoid((0, back, 0), (22 * s, 16 * s, 1e5))
    canal = ellipsoid((0, back + 24 * s, 0), (9.5 * s, 8.5 * s, 1e5))
    trabeculae, grain, uneven = waves(rng, 13, 5, 9), waves(rng, 12, 14), waves(rng, 0.9 * s, 22 * s)
    tilt = rng.uniform(0.15, 0.45)

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        along = (z + phase) % pitch - pitch / 2
        waist = 2.2 * s * np.cos(2 * np.pi * along / pitch)
        rough = uneven(x, y, z)
        whole = column(x, y, z) - waist + rough
        body = np.minimum(whole, pitch / 2 - 4 * s - np.abs(along))
        marrow = 165 + trabeculae(x, y, z) + grain(x, y, z)
        yield whole, 88.0 + rough
        yield body, CORTEX
        yield body - 1.3 * s, marrow
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
        bone = np.maximum.reduce(np.broadcast_arrays(*parts))
        yield bone, CORTEX - 30
        yield bone - 1.4 * s, 190 + grain(x, y, z)
        yield canal(x, y, z), 5.0
        yield canal(x, y, z) - 3.2 * s, 40.0

    canvas.paint(layers, (-56 * s, back - 30 * s, -1e4), (56 * s, build.half_depth - 5, 1e4))


def _bar(u: ndarray, v: ndarray, half_thickness: float, half_length: float) -> ndarray:
    """Return mm to the surface of a bar with round ends, `u` across and `v` along it; positive inside."""
    beyond = np.maximum(np.abs(v) - half_length + half_thickness, 0)
    return np.asarray(half_thickness - np.hypot(u, beyond))


def _paint_ribs(canvas: Canvas, build: Build, pitch: float, phase: float, rng: np.random.Generator) -> None:
    s = build.scale
    a, b = build.half_width - build.wall + 5.5 * s, build.half_depth - 0.8 * build.wall + 4.5 * s
    low, high = float(canvas.z[0]), float(canvas.z[-1])
    drop = rng.uniform(75, 95) * s
    for side in (-1, 1):
        for k in range(int(np.floor((low - 10) / pitch)), int(np.ceil((high + drop) / pitch)) + 1):
            start = k * pitch - phase
            jitter, steeper, thick = rng.normal(0, 1.5 * s), rng.uniform(0.9, 1.12), rng.uniform(0.88, 1.1)
            if start < -30 * s:  # below the last rib
                continue
            reach = 2.45 if start > 40 * s else 1.9
            angles = np.linspace(0.24, reach, int(60 * s * reach))
            x = side * a * np.sin(angles) ** 0.95
            y = b * np.cos(angles) - 0.05 * build.half_depth + 3 * s
            z = start + jitter - steeper * drop * (1 - np.cos(angles * 0.78)) + 4 * s
            middles = np.stack([x, y, z], axis=1)
            _paint_rib(canvas, middles, 5.4 * s * thick, s)


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
        canvas.blend(region, 105.0 if cartilage else CORTEX - 40)
    for region, cartilage in pieces:
        if not cartilage:
            canvas.blend(region._replace(level=region.level - 1.7 * s), 120.0)


def _flat_ball(middle: ndarray, normal: ndarray, radius: float) -> Level:
    """Return a ball flattened along `normal`, (x, y)."""

    def level(x: ndarray, y: ndarray, z: ndarray) -> ndarray:
        u, v = x - middle[0], y - middle[1]
        across, along = u * normal[0] + v * normal[1], v * normal[0] - u * normal[1]
        return np.asarray(radius - np.sqrt((1.5 * across) ** 2 + along**2 + (z - middle[2]) ** 2))

    return level
