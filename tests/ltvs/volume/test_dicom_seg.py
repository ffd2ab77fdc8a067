"""Files that are no DICOM-SEG end in one line that names the file."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ltvs.runtime.errors import InputError
from ltvs.volume.dicom_seg import read_segmentation
from support.crlm_damage import cut_short, edit, seg_of
from support.crlm_layout import write_patient


def a_ct_slice(study: Path) -> None:
    next(study.glob("*-NA-*/*.dcm")).replace(seg_of(study))


def without_segments(study: Path) -> None:
    edit(seg_of(study), lambda dataset: dataset.pop("SegmentSequence"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda study: seg_of(study).unlink(),
        lambda study: seg_of(study).write_bytes(b"\x1f\x8bnot DICOM" * 20),
        lambda study: seg_of(study).write_bytes(b""),
        lambda study: cut_short(seg_of(study), 0.3),
        a_ct_slice,
        without_segments,
    ],
    ids=["missing", "other bytes", "empty", "cut short", "a CT slice", "without segments"],
)
def test_what_is_no_segmentation_is_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    study = write_patient(tmp_path)
    damage(study)
    path = seg_of(study)
    line = rf"^{re.escape(str(path))}: cannot be read as DICOM-SEG \(\w+: .*\); download it again$"
    with pytest.raises(InputError, match=line) as raised:
        read_segmentation(path)
    assert "\n" not in str(raised.value)
