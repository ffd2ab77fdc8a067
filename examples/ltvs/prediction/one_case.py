"""One CT labeled and measured, and its files written, in a process that has the networks loaded."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import SimpleITK as sitk

from ltvs.measurement import measure
from ltvs.measurement.doubts import find_doubts
from ltvs.measurement.files import Measured, write_measurements
from ltvs.model.pipeline import NoLiverError, Pipeline
from ltvs.model.shipping import ORIGIN, SHIPPED
from ltvs.prediction.answer import Answer, NetworksError, Progress
from ltvs.prediction.asked import ALWAYS, PAGE, SEGMENTATION, Asked, beside, mesh_ending
from ltvs.prediction.found import FoundCT
from ltvs.report.figures import draw_report
from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, read_labels, write_volume
from ltvs.volume.labels import STRUCTURES


class PipelineLabeler:
    """Labels with the two stages of a run.

    Args:
        asked: what is asked for of every CT.
        device: where the networks run.
    """

    def __init__(self, asked: Asked, device: str) -> None:
        self.asked = asked
        self.device = device

    @property
    def origin(self) -> str:
        """Return where the networks come from, as pages and DICOM say it; empty for those of a run."""
        return ORIGIN if self.asked.networks.resolve() == SHIPPED.resolve() else ""

    @cached_property
    def pipeline(self) -> Pipeline:
        """Return the two stages, loaded after the first CT is read: much that is wrong with that is told sooner."""
        asked = self.asked
        try:
            return Pipeline.load(
                asked.networks, self.device, asked.smallest_liver, precision=asked.precision, mirror=asked.tta
            )
        except InputError as error:
            raise NetworksError(str(error)) from error

    def label(self, ct: FoundCT, labels: Path, progress: Progress) -> Answer:
        """Label a CT; write `labels` and all files beside it, unless no liver is found.

        Args:
            ct: to label.
            labels: file to write.
            progress: called with the step, the patches done and all.

        Raises:
            NetworksError: the networks cannot be loaded.
            InputError: the CT cannot be labeled, or the files cannot be written.
        """
        image = read_ct(ct.place, force=self.asked.force, files=ct.slices)
        try:
            found = self.pipeline.find(image, force=self.asked.force, progress=progress)
        except NoLiverError as error:
            return Answer({}, no_liver=str(error))
        measured = Measured(measure(found.labels), find_doubts(image, found.labels, found.bodies))
        progress("writing files", 0, 1)
        write_volume(found.labels, labels)
        self._write(ct, image, found.labels, measured, labels, self.asked.endings())
        return Answer(_numbers(measured), tuple(measured.doubts), found.bodies)

    def add(self, ct: FoundCT, source: Path, bodies: tuple[float, ...], labels: Path, endings: Iterable[str]) -> None:
        """Write files of a CT that is labeled already.

        Args:
            ct: that is labeled.
            source: its labels.
            bodies: ml of the bodies that stage 1 found.
            labels: name beside which the files are written.
            endings: of the files.

        Raises:
            InputError: CT or labels cannot be read, or the files not be written.
        """
        image, found = read_ct(ct.place, force=self.asked.force, files=ct.slices), read_labels(source)
        # Measuring takes seconds, and DICOM and surfaces have none of it.
        is_measured = not {*ALWAYS[1:], PAGE}.isdisjoint(endings)
        measured = Measured(measure(found), find_doubts(image, found, bodies)) if is_measured else None
        self._write(ct, image, found, measured, labels, endings)

    def _write(
        self,
        ct: FoundCT,
        image: sitk.Image,
        found: sitk.Image,
        measured: Measured | None,
        labels: Path,
        endings: Iterable[str],
    ) -> None:
        """Write the files with these endings beside the labels; `measured` is needed for tables and page alone."""
        wanted = set(endings)
        name = beside(labels, "").name
        picture, *tables = ALWAYS
        if picture in wanted:
            draw_report(image, found, beside(labels, picture))
        if measured is not None and not wanted.isdisjoint(tables):
            write_measurements({name: measured}, beside(labels, ALWAYS[1]), beside(labels, ALWAYS[2]))
        if measured is not None and PAGE in wanted:
            from ltvs.page import write_page

            write_page(beside(labels, PAGE), image, found, measured, title=name, origin=self.origin)
        if SEGMENTATION in wanted:
            if ct.slices is None:
                raise InputError(f"{ct.shown}: is no DICOM series, which --dicom-seg refers to; leave --dicom-seg out")
            from ltvs.delivery.segmentation import write_segmentation

            write_segmentation(found, ct.slices, beside(labels, SEGMENTATION), origin=self.origin)
        meshes = self.asked.meshes
        structures = [] if meshes is None else [name for name in STRUCTURES if mesh_ending(name, meshes) in wanted]
        if meshes is not None and structures:
            from ltvs.delivery.meshes import write_mesh
            from ltvs.delivery.surfaces import structure_surfaces

            for name, surface in structure_surfaces(found, structures).items():
                write_mesh(surface, beside(labels, mesh_ending(name, meshes)))


def _numbers(measured: Measured) -> dict[str, float]:
    found = measured.measurements
    return {"liver": found.liver_ml, "vessel": found.vessels_ml, "tumor": found.tumors_ml, "tumors": len(found.tumors)}
