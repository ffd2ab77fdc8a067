"""Write the network of one stage of a trained run as ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ltvs  # noqa: F401 - before other libraries: it says which extra installs those that are missing

# isort: split
from crossattn3d import UNet3d
from crossattn3d.export import export_onnx
from ltvs.model.saved import load_stage, stage_inputs
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.extras import require_extra
from ltvs.runtime.outputs import check_new_files, check_outside


@dataclass(frozen=True)
class ExportSettings:
    """Settings of the export."""

    run: Path
    """Folder of a run, as train_ltvs.py writes it."""
    output: Path
    """ONNX file to write."""
    stage: Literal[1, 2] = 2
    """Stage to export: 1 finds the liver, 2 finds the vessels and tumors in it."""
    overwrite: bool = False
    """Replace --output if it exists."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".onnx":
            raise InputError(f"{self.output}: expected a name that ends in .onnx")


def main(settings: ExportSettings) -> None:
    """Write the network of one stage of a trained run as ONNX, with batch normalization folded in the convolutions."""
    require_extra("onnx")
    check_outside(settings.output, stage_inputs(settings.run))
    check_new_files([settings.output], overwrite=settings.overwrite)
    stage = load_stage(settings.run, settings.stage)
    # The systems of Table 1 that are not the package's pad inside, by amounts that one size fixes.
    only = None if isinstance(stage.net, UNet3d) else stage.patch
    export_onnx(stage.net, settings.output, size=only)
    print(f"ONNX: {settings.output}\nsize of its patches: {stage.patch} (slices, rows, columns)")
    if only is not None:
        print("it accepts no other size")


if __name__ == "__main__":
    run(main, ExportSettings)
