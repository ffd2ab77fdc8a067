"""Make phantoms for the study, all with the same contrast and the same noise.

Anyone can make the plain phantoms. Phantoms around real livers and vessel trees need a folder of label maps (1 liver,
2 vessel in it), one `SOURCE-NUMBER.nii.gz` each. Maps of `3dircadb` are for testing, all others for training, so that
no patient is on both sides. The command keeps existing cases.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.accuracy.cases import Volume, write_case
from benchmarks.accuracy.data.making import make_all
from ltvs.dataset.one_case import compose_labels
from ltvs.phantom.cohort import make_phantom
from ltvs.volume.case import Case

PLAIN_TRAINING, PLAIN_TEST = 32, 12
#: 2 mm in plane: a whole liver in about half a million voxels.
MATRIX, SLICE_SPACING = 176, 2.5
#: Voxels kept around the liver.
MARGIN = 2
#: LiTS contains the patients of 3D-IRCADb under these numbers.
SHARED = {f"lits-{number}.nii.gz" for number in range(28, 49)}
#: Tumors find no place in some small livers; the next seed may do better.
TRIES, NEXT = 5, 10_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.data.phantoms", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the arrays")
    parser.add_argument("--anatomy", type=Path, help="folder of label maps of real livers")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--matrix", type=int, default=MATRIX, help=f"rows and columns of a CT (default: {MATRIX})")
    parser.add_argument("--slice-spacing", type=float, default=SLICE_SPACING, metavar="MM",
                        help=f"(default: {SLICE_SPACING})")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.anatomy is not None and not any(arguments.anatomy.glob("*.nii.gz")):
        parser.error(f"--anatomy {arguments.anatomy}: expected *.nii.gz in it; found none")
    paths = {arguments.output / f"{name}.npz": job for name, job in planned(arguments.anatomy).items()}
    jobs = [(path, *job, arguments.matrix, arguments.slice_spacing) for path, job in paths.items() if not path.exists()]
    tasks = {job[0].stem: partial(_make, job) for job in jobs}
    return make_all(tasks, arguments.workers, "voxels")


def planned(anatomy: Path | None) -> dict[str, tuple[int, Path | None]]:
    """Return the seed of each case, and the label map that it is made around."""
    plain = {"plain-train": range(20_000, 20_000 + PLAIN_TRAINING), "plain": range(20_100, 20_100 + PLAIN_TEST)}
    cases: dict[str, tuple[int, Path | None]] = {
        f"{kind}-{i:03d}": (seed, None) for kind, seeds in plain.items() for i, seed in enumerate(seeds)
    }
    files = sorted(anatomy.glob("*.nii.gz")) if anatomy is not None else []
    files = [file for file in files if file.name not in SHARED]
    return cases | {file.name.removesuffix(".nii.gz"): (21_000 + i, file) for i, file in enumerate(files)}


def made(seed: int, anatomy: sitk.Image | None, matrix: int = MATRIX, slice_spacing: float = SLICE_SPACING) -> Volume:
    """Return a phantom cut to its liver, with a tumor unless there is no place for one."""
    for attempt in range(TRIES):
        case = make_phantom(seed + attempt * NEXT, matrix=matrix, slice_spacing=slice_spacing, anatomy=anatomy)
        if sitk.GetArrayViewFromImage(case.tumor).any():
            break
    return cut(case)


def cut(case: Case) -> Volume:
    """Return HU and labels of the box around a liver, without the vessels outside it."""
    if case.vessel is None:
        raise ValueError(f"{case.name}: expected vessels; got none; use a source that labels them")
    inside = np.argwhere(sitk.GetArrayViewFromImage(case.liver))
    low, high = np.maximum(inside.min(0) - MARGIN, 0), inside.max(0) + 1 + MARGIN
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return Volume(*(sitk.GetArrayFromImage(image)[box] for image in (case.ct, compose_labels(case))))


def _make(job: tuple[Path, int, Path | None, int, float]) -> int:
    path, seed, file, *grid = job
    volume = made(seed, None if file is None else sitk.ReadImage(str(file)), *grid)
    write_case(path, volume)
    return volume.hu.size


if __name__ == "__main__":
    sys.exit(main())
