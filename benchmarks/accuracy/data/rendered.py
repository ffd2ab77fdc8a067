"""Render scenes of synthetic livers for the study, each with its own contrast.

The shape, phase, contrast, lesions, resolution and noise of each scene are drawn as for the networks that come with the
examples. No patient is both in training and in testing. The command keeps existing cases.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.accuracy.cases import RENDERED, Volume, write_case
from benchmarks.accuracy.data.making import make_all
from ltvs.phantom.maps import MappedPatient, open_maps, paint_maps
from ltvs.phantom.scenes import part_of_liver
from ltvs.volume.labels import TUMOR

#: Seeds of the patients, and the scenes of each, to train on and to test on.
TRAINING, TRAINING_SCENES = range(30_000, 30_064), 6
TEST, TEST_SCENES = range(31_000, 31_024), 2
#: Voxels of a scene, mm of its slices, and pixels and margin, mm, of the box around a whole liver.
SIZE, SLICE_SPACING, PIXELS, MARGIN = (48, 96, 96), 2.5, 96, 10.0
#: Scenes are drawn again, so often at most, until they show this many voxels of tumor.
TRIES, SHOWN = 20, 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.data.rendered", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the arrays")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    arguments = parser.parse_args()
    jobs = dict.fromkeys(TRAINING, (TRAINING_SCENES, f"{RENDERED}train-"))
    jobs |= dict.fromkeys(TEST, (TEST_SCENES, RENDERED))
    tasks = {}
    for seed, (count, prefix) in jobs.items():
        paths = [arguments.output / f"{prefix}{seed}-{i}.npz" for i in range(count)]
        if not all(path.exists() for path in paths):
            tasks[str(seed)] = partial(_make, seed, paths)
    return make_all(tasks, arguments.workers, "scenes")


def scene(patient: MappedPatient, seed: int, number: int) -> Volume:
    """Return a scene of a patient, one that shows a tumor unless none does."""
    for attempt in range(TRIES):
        rng = np.random.default_rng((seed, number, attempt))
        seen = part_of_liver(patient, SIZE, PIXELS, SLICE_SPACING, MARGIN, rng)
        if (seen.labels == TUMOR).sum() >= SHOWN:
            break
    return Volume(seen.hu, seen.labels)


def _make(seed: int, paths: list[Path]) -> int:
    with TemporaryDirectory() as folder:
        paint_maps(seed, Path(folder))
        patient = open_maps(Path(folder))
        for number, path in enumerate(paths):
            write_case(path, scene(patient, seed, number))
    return len(paths)


if __name__ == "__main__":
    sys.exit(main())
