"""The rows of the study, and the commands that train the networks of each."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ltvs.dataset.layout import PreparedSet
from ltvs.model.computing import Precision
from ltvs.model.stages import Stage
from ltvs.phantom.parts import Part
from ltvs.training.patches import PatchDataset, Sampling

Triple = tuple[int, int, int]

#: Grids of the study, coarser than those of the networks that are shipped: all rows take hours as it is.
GRIDS = "--pixels 80 --slice-spacing 5 --liver-pixels 112 --liver-slice-spacing 2"
#: Phantoms of a cohort: those that train the first row, for validation, and to score.
TRAINING, VALIDATION, TEST = 12, 2, 4
PHANTOMS = f"--source phantom --matrix 256 --ct-slice-spacing 2.5 --seed 900 --count {TRAINING + VALIDATION + TEST}"
SPLIT = f"--validation {VALIDATION} --test {TEST}"
NETWORKS = "--channels 8 16 32 64 --norm instance --loss dice_ce --schedule cosine --batch-size 1 --learning-rate 2e-3"
#: Patches of each stage, and what neighboring ones share.
PATCH: dict[Stage, Triple] = {1: (24, 80, 80), 2: (24, 64, 64)}
OVERLAP: dict[Stage, Triple] = {1: (12, 0, 0), 2: (12, 32, 32)}
#: Patches of every map in an epoch.
RENDERED = 4


@dataclass(frozen=True)
class Row:
    """A way to make the images that networks are trained on.

    Args:
        name: of its folder, and in the table.
        fixed: parts of the rendered images that do not vary; None for phantoms that are made once.
    """

    name: str
    fixed: tuple[Part, ...] | None


def rows() -> list[Row]:
    """Return the rows in order: phantoms made once, rendered on the fly, then with one part more that varies."""
    parts: tuple[Part, ...] = get_args(Part)
    varied = [Row(f"+ {part}", parts[number:]) for number, part in enumerate(parts, start=1)]
    return [Row("phantoms made once", None), Row("rendered on the fly", parts), *varied]


def training(
    row: Row, stage: Stage, steps: int, precision: Precision, data: PreparedSet, output: Path
) -> tuple[str | Path, ...]:
    """Return the words of the command that trains a stage of a row.

    Args:
        row: of the study.
        stage: 1 or 2.
        steps: of one patch, at least.
        precision: that the networks compute in.
        data: the prepared set.
        output: folder of the run.
    """
    if row.fixed is None:
        patches = len(PatchDataset(data, stage, data.split["train"], Sampling(PATCH[stage], OVERLAP[stage])))
    else:
        patches = RENDERED * len(data.maps())
    epochs = math.ceil(steps / patches)
    words = f"--stage {stage} --epochs {epochs} --validate-every {epochs} --workers 1 --jitter 8"
    for name, values in (("patch", PATCH[stage]), ("overlap", OVERLAP[stage]), ("fixed", row.fixed)):
        words += f" --{name} {' '.join(map(str, values))}" if values else ""
    words += "" if row.fixed is None else f" --render {RENDERED}"
    words += f" --precision {precision}"
    return ("train_ltvs.py", words, NETWORKS, "--data", data.folder, "--output", output)
