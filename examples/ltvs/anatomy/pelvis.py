"""What lies below the abdomen: hip bones, sacrum, thigh bones, muscles, bladder, rectum and the vessels to the legs."""

import numpy as np
from numpy import ndarray

from ltvs.anatomy.build import Build
from ltvs.anatomy.canvas import Canvas, Tissues, ellipsoid, waves
from ltvs.anatomy.tissues import Tissue
from ltvs.anatomy.vessel_tree import tree_region, tube


def paint_pelvis(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint the pelvis, from the crests of the hip bones to the thighs."""
    s, hips, depth = build.scale, build.hips, build.half_depth
    rough, streaks = waves(rng, 1.2 * s, 40 * s), waves(rng, 1.0, 24, 8)
    half, crest = rng.uniform(0.56, 0.64) * build.half_width, rng.uniform(125, 150) * s
    bladder = ellipsoid((0, -0.18 * depth, hips + 8 * s), np.multiply((46, 34, 36), s * rng.uniform(0.5, 1.25)))
    organ = ellipsoid((0, 0.12 * depth, hips + 8 * s), np.multiply((30, 22, 30), s * rng.uniform(0.6, 1.4)))
    rectum = ellipsoid((0, 0.36 * depth, hips + 20 * s), np.multiply((20, 17, 70), s * rng.uniform(0.7, 1.1)))

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        bump = rough(x, y, z)
        inside = build.outline(x, y, z) - build.fat * 0.6
        below = hips - 40 * s - z
        for side in (-1, 1):
            gluteal = ellipsoid((side * 0.5 * build.half_width, 0.55 * depth, hips + 25 * s), (72 * s, 46 * s, 100 * s))
            inner = ellipsoid((side * half, -0.05 * depth, hips + 10 * s), (52 * s, 62 * s, 70 * s))
            thigh = build.thigh(side)(x, y, z) - build.fat
            for flesh in (gluteal(x, y, z) + bump, inner(x, y, z) + bump, np.minimum(thigh, below + 60 * s)):
                yield np.minimum(flesh, inside), Tissue.MUSCLE
                yield np.minimum(np.minimum(flesh, inside), 6 * (streaks(x, y, z) - 1.2)), Tissue.FAT
            # The hip bone: a bowl open to the front, thick at the joint.
            bowl = ellipsoid((side * 0.42 * half, -0.1 * depth, hips + 95 * s), (0.86 * half, 0.66 * depth, crest))
            shell = 4.5 * s - np.abs(bowl(x, y, z) + bump)
            wing = np.minimum(np.minimum(shell, y + 0.3 * depth), np.minimum(side * x - 0.52 * half, z - hips + 12 * s))
            wing = np.minimum(wing, hips + 185 * s - z)
            socket = ellipsoid((side * half * 0.98, 0.02 * depth, hips), (38 * s, 36 * s, 38 * s))(x, y, z)
            pubis = ellipsoid(
                (side * 0.42 * half, -0.3 * depth, hips - 8 * s), (0.5 * half, 12 * s, 12 * s), -0.35 * side
            )
            seat = ellipsoid((side * 0.62 * half, 0.34 * depth, hips - 30 * s), (18 * s, 20 * s, 34 * s))
            bone = np.maximum.reduce(np.broadcast_arrays(wing, socket, pubis(x, y, z), seat(x, y, z)))
            yield np.minimum(bone, inside), Tissue.BONE
            yield np.minimum(bone - 1.6 * s, inside), Tissue.MARROW
            head = ellipsoid((side * half * 1.02, 0.02 * depth, hips), np.full(3, 25 * s))(x, y, z)
            shaft = ellipsoid((side * (half * 1.02 + 22 * s), 0.04 * depth, 0), (15 * s, 15 * s, 1e5))(x, y, z)
            neck = ellipsoid(
                (side * (half * 1.02 + 16 * s), 0.02 * depth, hips - 14 * s), (34 * s, 16 * s, 20 * s), 0.0
            )
            femur = np.maximum(np.maximum(head, neck(x, y, z)), np.minimum(shaft, hips - 6 * s - z))
            yield np.minimum(femur + 1.5, inside), Tissue.CARTILAGE
            yield np.minimum(femur, inside), Tissue.BONE
            yield np.minimum(femur - 4.0 * s, inside), Tissue.MARROW
        sacrum = ellipsoid((0, build.spine + 22 * s, hips + 75 * s), (50 * s, 18 * s, 62 * s))(x, y, z) + bump
        yield np.minimum(sacrum, inside), Tissue.BONE
        yield np.minimum(sacrum - 1.6 * s, inside), Tissue.MARROW
        yield rectum(x, y, z) + bump, Tissue.WALL
        yield rectum(x, y, z) + bump - 4 * s, Tissue.STOOL
        yield organ(x, y, z) + 2 * bump, Tissue.ORGAN
        yield bladder(x, y, z) + bump + 2.5 * s, Tissue.WALL
        yield bladder(x, y, z) + bump, Tissue.URINE

    canvas.paint(layers, (-1e4, -1e4, -1e4), (1e4, 1e4, hips + crest + 110 * s))
    front = build.spine - 30 * s
    for side in (-1, 1):
        path = [(side * 4 + 8, 0, -122), (side * 26 + 4, -4, -165), (side * 46, -26, -225), (side * 58, -62, -285),
                (side * 60, -66, -420)]  # fmt: skip
        for shift, radius, tissue in ((0.0, 4.6, Tissue.ARTERY), (9.0, 5.6, Tissue.VEIN)):
            nodes = np.add(np.multiply(path, s), (-side * shift * s * 0.7, front + shift * s * 0.7, 0))
            canvas.fill(tree_region(canvas, [tube(nodes, radius * s)]), tissue)
