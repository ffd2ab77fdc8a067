"""Mistakes in folders of cases and in files, each as a function that makes the input in a folder."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ltvs.volume.grids import Grid
from ltvs.volume.images import write_volume
from support.ircadb_layout import write_series, write_usual
from support.tiny_cases import ball, center, grid, image, tiny_case
from support.volume_file_layouts import write_own

Make = Callable[[Path], None]


def own(change: Make) -> Make:
    """A case of one's own cohort, changed."""

    def make(folder: Path) -> None:
        change(write_own(folder / "case 1", tiny_case("case 1")))

    return make


def patient(change: Make) -> Make:
    """An unpacked patient of 3D-IRCADb-01, changed."""

    def make(folder: Path) -> None:
        change(write_usual(folder / "3Dircadb1.1"))

    return make


def cut(name: str) -> Make:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-300])

    return change


def renamed(old: str, new: str) -> Make:
    def change(folder: Path) -> None:
        (folder / old).rename(folder / new)

    return change


def put(name: str, volume: Callable[[], sitk.Image]) -> Make:
    def change(folder: Path) -> None:
        write_volume(volume(), folder / name)

    return change


def is_text(name: str) -> Make:
    def change(folder: Path) -> None:
        (folder / name).write_text("patient,age\n1,63\n")

    return change


def mixed(folder: Path) -> None:
    """The slices of a second patient among those of the first."""
    write_series(folder.parent / "other", tiny_case("other").ct)
    for path in (folder.parent / "other").iterdir():
        path.rename(folder / f"other-{path.name}")
    (folder.parent / "other").rmdir()


def mixed_patient(folder: Path) -> None:
    mixed(folder / "PATIENT_DICOM")


def moved_liver() -> sitk.Image:
    liver = tiny_case().liver
    return replace(Grid.of(liver), origin=(0.0, 0.0, 0.0)).place(sitk.GetImageFromArray(sitk.GetArrayFromImage(liver)))


def lump() -> sitk.Image:
    """A tumor, but not in this liver."""
    where = grid()
    return image(ball(where, np.add(center(where), (0, 0, 18)), 3).astype(np.uint8), where)


def not_finite() -> sitk.Image:
    ct = sitk.Cast(tiny_case().ct, sitk.sitkFloat32)
    ct[3, 4, 5] = float("nan")
    return ct


def color() -> sitk.Image:
    return sitk.Compose([sitk.Cast(tiny_case().ct, sitk.sitkUInt8)] * 3)


def over_time() -> sitk.Image:
    return sitk.JoinSeries([tiny_case().ct] * 2)


def write_zip(folder: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with zipfile.ZipFile(folder / "3Dircadb1.1.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)


def leads_out(folder: Path) -> None:
    write_zip(folder, {"3Dircadb1.1/PATIENT_DICOM/image_0": b"", "../../evil": b"written"})


def links_out(folder: Path) -> None:
    """A link to a patient elsewhere, which would be read if links in zips were followed."""
    outside = write_usual(folder.parent.parent / "outside") / "PATIENT_DICOM"
    write_zip(folder, {"3Dircadb1.1/MASKS_DICOM/liver/image_0": b""}, {"3Dircadb1.1/PATIENT_DICOM": str(outside)})


def vast(folder: Path) -> None:
    """A small zip that says of each of its files that it unpacks to 4 GB, more in all than the disk has free."""
    count = shutil.disk_usage(folder).total // 2**32 + 1
    write_zip(folder, {f"3Dircadb1.1/PATIENT_DICOM/image_{k}": bytes(8) for k in range(count)})
    content = bytearray((folder / "3Dircadb1.1.zip").read_bytes())
    entry = -1
    while (entry := content.find(b"PK\x01\x02", entry + 1)) >= 0:
        content[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    (folder / "3Dircadb1.1.zip").write_bytes(content)
