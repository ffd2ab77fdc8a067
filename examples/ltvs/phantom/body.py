"""Everything around the liver, in the order in which it is laid over each other."""

import numpy as np

from ltvs.phantom.bowel import paint_bowel
from ltvs.phantom.build import Build
from ltvs.phantom.chest import paint_chest
from ltvs.phantom.organs import paint_organs
from ltvs.phantom.skeleton import paint_skeleton
from ltvs.phantom.space import Space
from ltvs.phantom.wall import paint_wall


def paint_body(space: Space, build: Build, rng: np.random.Generator) -> None:
    """Paint all but the liver, its vessels and its tumors."""
    blood = rng.uniform(140, 165)
    paint_wall(space, build, rng)
    paint_bowel(space, build, rng)
    paint_organs(space, build, blood, rng)
    paint_chest(space, build, blood, rng)
    paint_skeleton(space, build, rng)
