"""Bring labeled CTs onto the grid of the rendered scenes.

The study scores them apart from the test cases, within the labeled liver. The command keeps existing cases.
"""

import argparse
import sys
from pathlib import Path

import SimpleITK as sitk

from benchmarks.accuracy.cases import CT, WINDOW, Volume, write_case
from benchmarks.accuracy.data.rendered import MARGIN, PIXELS, SLICE_SPACING
from benchmarks.real_cases.cohorts import COHORTS
from ltvs.dataset.one_case import compose_labels
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import liver_grid
from ltvs.volume.resampling import resample_image, resample_labels


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.data.real_ct", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the arrays")
    parser.add_argument("--cohort", nargs=2, required=True, metavar=("NAME", "PATH"),
                        help=f"{', '.join(COHORTS)}, and where its files are")  # fmt: skip
    arguments = parser.parse_args()
    name, path = arguments.cohort
    if name not in COHORTS:
        parser.error(f"--cohort {name}: expected one of {', '.join(COHORTS)}")
    try:
        for case, entry in COHORTS[name](Path(path)).items():
            file = arguments.output / f"{CT}{case}.npz"
            if not file.exists():
                write_case(file, on_grid(entry.load()))
                print(f"{case}: made", flush=True)
    except (InputError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def on_grid(case: Case) -> Volume:
    """Return HU and labels of the box around a liver.

    Raises:
        ValueError: vessels are not labeled.
        InputError: there is no liver.
    """
    if case.vessel is None:
        raise ValueError(f"{case.name}: expected vessels; got none; use a cohort that labels them")
    labels = compose_labels(case)
    grid = liver_grid(labels, PIXELS, SLICE_SPACING, MARGIN)
    images = resample_image(case.ct, grid, WINDOW), resample_labels(labels, grid)
    return Volume(*map(sitk.GetArrayFromImage, images))


if __name__ == "__main__":
    sys.exit(main())
