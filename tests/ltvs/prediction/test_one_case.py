"""The files of one CT: they say where the networks come from."""

from pathlib import Path

import pydicom
import pytest

from ltvs.model.shipping import ORIGIN, SHIPPED
from ltvs.prediction.asked import Asked
from ltvs.prediction.found import found_cts
from ltvs.prediction.one_case import PipelineLabeler
from ltvs.volume.images import write_volume
from support.ircadb_layout import write_series
from support.tiny_cases import tiny_case


@pytest.mark.parametrize(("networks", "origin"), [(SHIPPED, ORIGIN), (Path("runs/own"), "")])
def test_files_say_where_the_networks_come_from(
    networks: Path, origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = tiny_case()
    write_series(Path("in/CT"), case.ct)
    labels = Path("out/CT.nii.gz")
    labels.parent.mkdir()
    write_volume(case.liver, labels)
    labeler = PipelineLabeler(Asked(networks, 100.0, html=True, dicom_seg=True), "cpu")
    with found_cts((Path("in"),), force=False) as findings:
        labeler.add(findings.cts[0], labels, (), labels, (".html", ".seg.dcm"))
    said = pydicom.dcmread("out/CT.seg.dcm").SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (ORIGIN in Path("out/CT.html").read_text()) == (ORIGIN in str(said)) == bool(origin)
