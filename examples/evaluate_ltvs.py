"""Score predicted label maps against reference label maps: Dice, IoU, clDice, 95% Hausdorff distance, and lesions."""

from dataclasses import dataclass
from pathlib import Path

import ltvs  # noqa: F401 - before other libraries: it says which extra installs those that are missing

# isort: split
import SimpleITK as sitk
from tqdm import tqdm

from ltvs.evaluation.pairing import pair_cases, read_pair
from ltvs.evaluation.scores import mean_scores, print_score_table, score_case, score_files, write_scores
from ltvs.runtime.command_line import run
from ltvs.runtime.outputs import check_new_files, check_outside
from ltvs.volume.grids import Grid
from ltvs.volume.images import stem


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of evaluation."""

    prediction: Path
    """Predicted label map (0 background, 1 liver, 2 vessel, 3 tumor), or a folder of label maps."""
    reference: Path
    """Reference label map, or a folder of label maps with the same names as the predictions.
    Each has to be on the grid of its prediction."""
    output: Path
    """Folder for cases.csv (a row for each case) and summary.json (means over cases, totals of tumors)."""
    overwrite: bool = False
    """Replace these two files if they exist."""


def main(settings: EvaluateSettings) -> None:
    """Score predicted label maps against reference label maps: each case, then the mean over cases.

    The structure `liver` is the whole organ, every label above 0. Tumors and vessels lie inside it, with one label per
    voxel. HD95 is in mm, and its mean is over the cases that have one. Where a map lacks a structure:
    - neither map has it: the means leave the case out (null in JSON, blank in CSV);
    - only the prediction has it (false alarm): Dice, IoU and clDice are 0, and HD95 is null;
    - only the reference has it (missed): the same, and `missed` counts the case.

    The scores of `lesions` count tumors one by one. Tumor voxels that share a corner are one lesion. A lesion of the
    reference is found if at least 10% of its voxels are predicted as tumor, and missed otherwise. A lesion of the
    prediction is confirmed if at least 10% of its voxels are tumor in the reference, and false otherwise. The sizes
    are by longest axial diameter: under 10 mm, 10 to 20 mm, and over 20 mm.
    """
    files = score_files(settings.output)
    for file in files:
        check_outside(file, {"--prediction": settings.prediction, "--reference": settings.reference})
    check_new_files(files, overwrite=settings.overwrite)
    pairs = pair_cases(settings.prediction, settings.reference)
    cases = {}
    for name, paths in tqdm(pairs.items(), desc="cases", disable=len(pairs) == 1):
        prediction, reference = read_pair(*paths)
        arrays = sitk.GetArrayFromImage(prediction), sitk.GetArrayFromImage(reference)
        cases[name] = score_case(*arrays, Grid.of(reference))
    write_scores(cases, settings.output)
    print_score_table({stem(settings.prediction.resolve()): mean_scores(cases.values())})
    print("cases: {}\nsummary: {}".format(*files))


if __name__ == "__main__":
    run(main, EvaluateSettings)
