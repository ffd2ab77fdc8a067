"""The work of `benchmarks.prediction` on a tiny patient."""

from benchmarks.prediction.work import Size
from ltvs.model.stage_view import Preparation, StageGrid

SMALL = Size(
    Preparation((-160.0, 240.0), StageGrid(32, 2.5), StageGrid(32, 2.0), 4.0),
    channels=(2, 3, 4),
    features=(2, 2, 3, 4, 5, 2),
    patch=(16, 32, 32),
    overlap=(8, 0, 0),
)
