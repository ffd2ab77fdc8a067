"""Label liver, vessels and tumors in CTs with the networks that come with the examples, or with those of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import ltvs  # noqa: F401 - before other libraries: it says which extra installs those that are missing

# isort: split
import tyro

from ltvs.prediction.asked import Asked, kind_of, not_of_these
from ltvs.prediction.cluster import Place, place_here
from ltvs.prediction.found import Findings, found_cts
from ltvs.prediction.progress import Display, on_terminal, shown_progress
from ltvs.prediction.record import RECORDS
from ltvs.prediction.table import CASES, Row, print_table
from ltvs.prediction.whole import check_found, files_of, label_all, label_one, make_job, only_ct, with_problems
from ltvs.runtime.choices import check_choices
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError, printable
from ltvs.runtime.extras import require_extra
from ltvs.runtime.outputs import check_new_files, check_not_around, check_outside
from ltvs.volume.images import VOLUME_SUFFIXES, check_name, stem

#: Endings of files that somebody may expect as the output, and that no folder has.
_OTHER_FILES = {".png", ".jpg", ".dcm", ".json", ".csv", ".html", ".stl", ".ply", ".gz", ".zip", ".npy", ".mgz", ".hdr"}


@dataclass(frozen=True)
class PredictSettings:
    """Settings of prediction."""

    input: Annotated[tuple[tuple[Path, ...], ...], tyro.conf.UseAppendAction]
    """CTs: NIfTI, NRRD or MHA files in HU, DICOM folders, zips, or folders of these with patients in subfolders.
    You can give several, and repeat the option."""
    output: Path
    """For one CT, the label map to write; its name ends in .nii.gz, .nii, .nrrd or .mha.
    For any number of CTs, a folder. If the command is interrupted, give it again to continue.
    Labels are on the CT's own grid: 1 liver, 2 vessel, 3 tumor.
    A picture and measurements are written beside each label map."""
    run: Path | None = None
    """Folder of a run with both stages trained, as train_ltvs.py writes it.
    By default, the networks that come with the examples. They were trained on synthetic patients alone."""
    device: str | None = None
    """Device that the networks run on: cpu, cuda, cuda:1, ... By default cuda where there is one, else cpu."""
    devices: int = 1
    """Number of devices on each machine that share the CTs of a folder. On CPU, number of processes."""
    nodes: int = 1
    """Number of machines that share the CTs. Needs --output on a shared disk.
    torchrun or SLURM has to start the same command on each of them."""
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    """Precision of the layers. auto is bfloat16 where the device has it in hardware, and float32 elsewhere."""
    tta: bool = False
    """Test-time augmentation: average stage 2 over eight mirror images of each CT. Stage 1 is not mirrored.
    This takes several times as long."""

    html: bool = False
    """Also write a page that shows each CT with its labels in any browser."""
    dicom_seg: bool = False
    """Also write the labels as DICOM-SEG, which refers to the input series (DICOM input only)."""
    meshes: Literal["none", "stl", "ply"] = "none"
    """Also write the surface of each structure in this format, in mm of the patient (LPS)."""

    smallest_liver: float = 100.0
    """Smallest volume that counts as a liver, ml. If less is found, the CT is reported as having no liver."""
    overwrite: bool = False
    """Replace existing files, even those of other inputs, networks or settings."""
    force: bool = False
    """Label the input even if the checks say that it is another modality or not in HU."""
    progress: bool = field(default_factory=on_terminal)
    """Show progress; on by default on a terminal."""

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.inputs:
            raise InputError("--input: expected one CT or more, or a folder of them; got none")
        if not self.smallest_liver >= 0:
            raise InputError(f"--smallest-liver: expected 0 ml or more; got {self.smallest_liver}")
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}: expected 1 or more; got {getattr(self, name)}")
        if self.is_one_file:
            check_name(self.output)
            if self.devices * self.nodes > 1:
                raise InputError("--devices, --nodes: share the CTs of a folder; give the name of a folder as --output")
        elif self.output.suffix.lower() in _OTHER_FILES and not self.output.is_dir():
            raise InputError(f"--output: expected a folder, or a name that ends in {', '.join(VOLUME_SUFFIXES)}; got "
                             f"{self.output}; the labels get one of these endings")  # fmt: skip
        elif self.output.exists() and not self.output.is_dir():
            raise InputError(f"{self.output}: is a file, expected a folder, or a name that ends in "
                             f"{', '.join(VOLUME_SUFFIXES)}; give another --output")  # fmt: skip

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Return all inputs, in the order given."""
        return tuple(path for group in self.input for path in group)

    @property
    def is_one_file(self) -> bool:
        """Return whether the output is one label map."""
        return self.output.name.lower().endswith(VOLUME_SUFFIXES)

    def asked(self, networks: Path) -> Asked:
        """Return what is asked for of every CT."""
        meshes = None if self.meshes == "none" else self.meshes
        return Asked(
            networks, self.smallest_liver, self.force, self.precision, self.tta, self.html, self.dicom_seg, meshes
        )


def main(settings: PredictSettings) -> None:
    """Label liver, vessels and tumors in one CT, or in all CTs of a folder.

    The exit status is 2 if a CT could not be labeled, or if no liver was found in it.
    """
    if settings.html:
        require_extra("view")
    with shown_progress(settings.progress) as display:
        # Here, since PyTorch takes seconds to import, which are to be seen.
        from ltvs.model.computing import best_device, check_device
        from ltvs.model.shipping import SHIPPED

        device = settings.device or best_device()
        check_device(device, settings.devices)
        place = place_here(device, settings.devices, settings.nodes)
        _check_places(settings, networks := settings.run or SHIPPED)
        display.say("looking for CTs")
        with found_cts(settings.inputs, force=settings.force) as findings:
            check_found(findings, settings.inputs)
            asked = settings.asked(networks)
            if settings.is_one_file:
                _into_a_file(settings, findings, asked, place, display)
                return
            rows = _into_a_folder(settings, findings, asked, place, display)
    if place.rank > 0:  # torchrun would end the others for another status
        return
    print_table(rows)
    if bad := [row for row in rows if not row.has_labels]:
        raise InputError(f"{len(bad)} of {len(rows)} CTs have no labels, see above and {settings.output / CASES}")


def _check_places(settings: PredictSettings, networks: Path) -> None:
    """Raise InputError if anything would be written to what is read, or replaced unasked."""
    from ltvs.model.saved import stage_inputs

    several = len(settings.inputs) > 1
    inputs = {f"--input {path}" if several else "--input": path for path in settings.inputs} | stage_inputs(networks)
    if settings.is_one_file:
        files = files_of(settings.output, settings.asked(networks))
        for path in files:
            check_outside(path, inputs)
        _check_apart(settings.output, settings.inputs)
        check_new_files(files, overwrite=settings.overwrite)
        return
    for folder in (settings.output, settings.output / RECORDS):
        check_outside(folder, inputs)
        check_not_around(folder, inputs)


def _check_apart(output: Path, inputs: Sequence[Path]) -> None:
    """Raise InputError if the measurements of the labels would have the name of a CT: they would mark it as labels."""
    for path in inputs:
        if path.is_file() and path.resolve().parent == output.resolve().parent and stem(path) == stem(output):
            raise InputError(f"{output}: has the name of --input {path} beside it; give another name, or folder")


def _into_a_file(settings: PredictSettings, findings: Findings, asked: Asked, place: Place, display: Display) -> None:
    """Write the labels of the only CT."""
    ct = with_problems(only_ct(findings, settings.output), asked)
    _tell_first(settings, findings, display)
    written, doubts = label_one(ct, settings.output, asked, place.devices[0], display)
    lines = [f"{kind_of(file)}: {file}" for file in written] + [f"doubt: {doubt}" for doubt in doubts]
    display.tell("\n".join(map(printable, lines)))
    if others := not_of_these(settings.output, asked):
        display.tell(printable(others))


def _into_a_folder(
    settings: PredictSettings, findings: Findings, asked: Asked, place: Place, display: Display
) -> list[Row]:
    """Write the labels of all CTs, and what became of each."""
    findings.cts = [with_problems(ct, asked) for ct in findings.cts]
    job = make_job(findings, settings.output, asked, overwrite=settings.overwrite)
    if place.rank == 0:
        _tell_first(settings, findings, display)
    try:
        return label_all(job, place, display if place.rank == 0 else Display())
    except KeyboardInterrupt:
        done = sum(job.is_settled(ct) for ct in job.cts)
        if place.rank == 0:
            display.tell(f"{done} of {len(job.cts)} CTs are done; give the same command again to label the others")
        raise


def _tell_first(settings: PredictSettings, findings: Findings, display: Display) -> None:
    """Print the networks, and what is passed over."""
    from ltvs.model.shipping import ORIGIN, SHIPPED

    if settings.run is None:
        display.tell(f"networks: {SHIPPED.name}, {ORIGIN}")
    for line in findings.lines():
        display.tell(printable(line))


if __name__ == "__main__":
    run(main, PredictSettings)
