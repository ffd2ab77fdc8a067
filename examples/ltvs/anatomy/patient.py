"""A synthetic patient: a seed decides it, and it is painted as tissues on a canvas of any grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

from ltvs.anatomy.bowel import paint_bowel
from ltvs.anatomy.build import Build, draw_build
from ltvs.anatomy.canvas import Box, Canvas, Level, Region, Tissues, waves
from ltvs.anatomy.chest import paint_chest
from ltvs.anatomy.liver import anatomy_levels, synthetic_liver
from ltvs.anatomy.liver_vessels import LiverVessels, grow_vessels, outer_vessels
from ltvs.anatomy.organs import paint_gallbladder, paint_organs
from ltvs.anatomy.pelvis import paint_pelvis
from ltvs.anatomy.skeleton import paint_skeleton
from ltvs.anatomy.tissues import Tissue
from ltvs.anatomy.vessel_tree import tree_region
from ltvs.anatomy.wall import paint_wall

#: The distance from a vessel tree that its levels still tell, mm.
_RESOLVED = -3.0


@dataclass(frozen=True)
class Patient:
    """A patient whose parts are the same on every canvas.

    Args:
        build: of the body.
        liver: mm to its surface, before the vena cava is cut out.
        vessels: of the liver.
        given: mm to the surface of the vessels of a given liver; None for a synthetic one.
        extent: the lowest and the highest z of the liver, mm, or somewhat beyond.
        seeds: of the parts around the liver.
    """

    build: Build
    liver: Level
    vessels: LiverVessels
    given: Level | None
    extent: tuple[float, float]
    seeds: tuple[np.random.SeedSequence, ...] = field(repr=False)

    @classmethod
    def draw(cls, seed: Sequence[int], field_of_view: float, anatomy: sitk.Image | None = None) -> Self:
        """Draw a patient.

        Args:
            seed: numbers that decide everything else.
            field_of_view: that the body fills, mm.
            anatomy: label map of a real liver (above 0) and its vessels (2) to build around; synthetic ones if None.

        Raises:
            InputError: an anatomy without liver or vessels.
        """
        of_build, of_liver, of_vessels, *seeds = np.random.SeedSequence([*seed]).spawn(11)
        build = draw_build(field_of_view, np.random.default_rng(of_build))
        rng = np.random.default_rng(of_vessels)
        if anatomy is None:
            liver = synthetic_liver(build, np.random.default_rng(of_liver))
            extent = -112 * build.scale, build.dome + 4
            return cls(build, liver, grow_vessels(build, liver, rng), None, extent, tuple(seeds))
        liver, given, extent = anatomy_levels(anatomy, build)
        return cls(build, liver, outer_vessels(build, rng), given, extent, tuple(seeds))

    def paint(self, canvas: Canvas) -> None:
        """Paint the whole patient, each part over those before it."""
        build = self.build
        parts = (paint_wall, paint_pelvis, _paint_ascites, paint_bowel, paint_organs, paint_chest, paint_skeleton)
        for part, seed in zip(parts, self.seeds, strict=False):
            part(canvas, build, np.random.default_rng(seed))
        self._paint_liver(canvas)
        # Over the liver, into which it reaches.
        paint_gallbladder(canvas, build, np.random.default_rng(self.seeds[-1]))

    def _paint_liver(self, canvas: Canvas) -> None:
        low, high = self.extent
        region = canvas.region(self.liver, (-1e4, -1e4, low), (1e4, 1e4, high))
        cava = tree_region(canvas, [self.vessels.cava])
        # The vena cava is not part of the organ even where it is wrapped in it.
        near = _on_box(cava, region.box, _RESOLVED)
        liver = Region(region.box, np.where(near > _RESOLVED, np.minimum(region.level, -near), region.level))
        canvas.fill(liver, Tissue.LIVER)
        canvas.fill(cava, Tissue.CAVA)
        if self.given is not None:
            inner = np.where(liver.level > 0, self.given(*canvas.coordinates(liver.box)), -1)
            canvas.fill(Region(liver.box, inner), Tissue.PORTAL_VEIN)
        veins = (
            (self.vessels.hepatic, Tissue.HEPATIC_VEIN, Tissue.CAVA),
            (self.vessels.portal, Tissue.PORTAL_VEIN, Tissue.PORTAL_TRUNK),
        )
        for trees, inside, outside in veins:
            if trees:
                box, level = tree_region(canvas, trees)
                depth = _on_box(liver, box, -1.0)
                canvas.fill(Region(box, np.minimum(level, depth)), inside)
                canvas.fill(Region(box, np.where(depth > 0, -1, level)), outside)


def _paint_ascites(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Paint fluid where the organs leave room, in one of twelve patients."""
    s = build.scale
    uneven, depth = waves(rng, 6 * s, 60 * s), rng.uniform(8, 40) * s
    if rng.random() > 1 / 12:
        return

    def layers(x: ndarray, y: ndarray, z: ndarray) -> Tissues:
        wall = build.cavity(x, y) - 2
        ring = np.minimum(wall, depth + uneven(x, y, z) - wall)
        yield np.minimum(np.minimum(ring, build.diaphragm(x, y) - 3 - z), z - build.hips), Tissue.FLUID

    canvas.paint(layers)


def _on_box(region: Region, box: Box, outside: float) -> ndarray:
    """Return the level of a region on another box; `outside` beyond its own."""
    level = np.full([s.stop - s.start for s in box], outside, dtype=np.float32)
    common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(region.box, box, strict=True)]
    if all(s.stop > s.start for s in common):
        to, source = (
            tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(common, own, strict=True))
            for own in (box, region.box)
        )
        level[to] = region.level[source]
    return level
