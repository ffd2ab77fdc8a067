"""Paint three synthetic patients and draw scenes as training renders them: docs/images/patients.png.

`PYTHONPATH=examples python docs/figures/patients.py` takes about two minutes.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltvs.phantom.maps import MappedPatient, open_maps, paint_maps
from ltvs.phantom.scenes import Scene, part_of_liver, whole_slices

PICTURE = Path(__file__).parents[1] / "images" / "patients.png"
PATIENTS, EACH = (11, 12, 13), 4
#: Window of the picture, HU.
LOW, HIGH = -160, 240
COLORS = {2: "#4c8dff", 3: "#ffd54f"}


def draw(axes: Axes, scene: Scene, index: int, *, outlined: bool) -> None:
    """Draw one slice of a scene, with the outlines of vessels and tumors if asked."""
    axes.imshow(scene.hu[index], cmap="gray", vmin=LOW, vmax=HIGH, aspect=scene.spacing[1] / scene.spacing[2])
    for label, color in COLORS.items():
        mask = scene.labels[index] == label
        if outlined and mask.any():
            axes.contour(mask, levels=[0.5], colors=[color], linewidths=0.9)
    axes.set_axis_off()


def busiest(scene: Scene) -> int:
    """Return the slice with the most tumor, or else the most liver."""
    counts = [(scene.labels == label).sum(axis=(1, 2)) for label in (3, 1)]
    return int(np.argmax(counts[0] if counts[0].any() else counts[1]))


def rows(patient: MappedPatient, rng: np.random.Generator) -> list[tuple[Scene, bool]]:
    """Return scenes of one patient: two for stage 1, and as many for stage 2."""
    slices = [whole_slices(patient, (32, 160, 160), 160, 3.0, rng) for _ in range(EACH // 2)]
    livers = [part_of_liver(patient, (32, 128, 128), 160, 1.5, 10.0, rng) for _ in range(EACH // 2)]
    return [(scene, False) for scene in slices] + [(scene, True) for scene in livers]


def main() -> None:
    """Paint, render and draw."""
    figure = Figure(figsize=(12, 3 * len(PATIENTS)), facecolor="black", layout="constrained")
    grid = figure.subplots(len(PATIENTS), EACH)
    for seed, line in zip(PATIENTS, grid, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            paint_maps(seed, Path(folder))
            scenes = rows(open_maps(Path(folder)), np.random.default_rng(seed))
            for axes, (scene, outlined) in zip(line, scenes, strict=True):
                draw(axes, scene, busiest(scene), outlined=outlined)
    figure.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    main()
