"""Label liver, vessels and tumors in one CT with the networks that come with the examples, or with those of a run."""

from dataclasses import dataclass, field
from pathlib import Path

from ltvs.model.computing import best_device, check_device
from ltvs.model.pipeline import SMALLEST_LIVER, Pipeline
from ltvs.model.saved import stage_inputs
from ltvs.model.shipping import ORIGIN, SHIPPED
from ltvs.report.figures import draw_report
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.outputs import check_new_files, check_outside
from ltvs.volume.images import check_name, read_ct, stem, write_volume


@dataclass(frozen=True)
class PredictSettings:
    """Settings of prediction."""

    input: Path
    """CT: a NIfTI, NRRD or MHA file in HU, or a folder with one DICOM series."""
    output: Path
    """Label map to write, .nii.gz, on the CT's own grid: 1 liver, 2 vessel, 3 tumor; a .png is written beside it."""
    run: Path | None = None
    """Folder of a run with both stages trained, as train_ltvs.py writes it; by default the networks that come with the
    examples, trained on synthetic patients alone."""
    device: str = field(default_factory=best_device)
    """Device that the networks run on: cpu, cuda, cuda:1, ..."""

    smallest_liver: float = SMALLEST_LIVER
    """Volume of a liver at least, ml; if less is found, the CT counts as one without liver."""
    overwrite: bool = False
    """Replace the label map and the picture if they exist."""
    force: bool = False
    """Label the input although the checks take it for no CT in HU: of another modality, or with other values."""

    def __post_init__(self) -> None:
        check_device(self.device)
        check_name(self.output)
        if not self.smallest_liver >= 0:
            raise InputError(f"--smallest-liver: expected 0 ml or more; got {self.smallest_liver}")


def main(settings: PredictSettings) -> None:
    """Label liver, vessels and tumors in one CT."""
    networks = settings.run or SHIPPED
    picture = settings.output.with_name(stem(settings.output) + ".png")
    for path in (settings.output, picture):
        check_outside(path, {"--input": settings.input, **stage_inputs(networks)})
    check_new_files([settings.output, picture], overwrite=settings.overwrite)
    ct = read_ct(settings.input, force=settings.force)
    if settings.run is None:
        print(f"networks: {SHIPPED.name}, {ORIGIN}", flush=True)
    pipeline = Pipeline.load(networks, settings.device, settings.smallest_liver)
    try:
        labels = pipeline.label(ct, force=settings.force)
    except InputError as error:
        raise InputError(f"{settings.input}: {error}") from error
    write_volume(labels, settings.output)
    draw_report(ct, labels, picture)
    print(f"labels: {settings.output}\npicture: {picture}")


if __name__ == "__main__":
    run(main, PredictSettings)
