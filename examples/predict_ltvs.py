"""Label liver, vessels and tumors in one CT with the networks that come with the examples, or with those of a run."""

from dataclasses import dataclass, field
from pathlib import Path

from ltvs.model.computing import best_device, check_device
from ltvs.model.pipeline import SMALLEST_LIVER, Pipeline
from ltvs.model.shipping import ORIGIN, SHIPPED
from ltvs.report.figures import draw_report
from ltvs.runtime.command_line import run
from ltvs.volume.images import check_suffix, read_ct, stem, write_volume


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

    def __post_init__(self) -> None:
        check_device(self.device)
        check_suffix(self.output)


def main(settings: PredictSettings) -> None:
    """Label liver, vessels and tumors in one CT."""
    ct = read_ct(settings.input)
    if settings.run is None:
        print(f"networks: {SHIPPED.name}, {ORIGIN}", flush=True)
    labels = Pipeline.load(settings.run or SHIPPED, settings.device, settings.smallest_liver).label(ct)
    write_volume(labels, settings.output)
    picture = settings.output.with_name(stem(settings.output) + ".png")
    draw_report(ct, labels, picture)
    print(f"labels: {settings.output}\npicture: {picture}")


if __name__ == "__main__":
    run(main, PredictSettings)
