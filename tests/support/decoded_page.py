"""A page taken apart again: its elements, its settings, and the images and surfaces in it."""

import base64
import gzip
import json
import struct
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from ltvs.volume.grids import Grid
from support.tiny_cases import SIGNED_PERMUTATIONS, array, image, tiny_case

#: From NIfTI's right, front and head to DICOM's left, back and head.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Page(HTMLParser):
    """The elements that a browser would find in a page.

    Args:
        path: of the page.
    """

    path: Path
    scripts: dict[str, str] = field(default_factory=dict)
    attributes: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""
        self.feed(self.path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id") or dict(attrs).get("type") or tag
            self.scripts[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] += data
        else:
            self.text += data

    def settings(self) -> dict[str, Any]:
        return json.loads(self.scripts["settings"])

    def content(self, name: str) -> bytes:
        return gzip.decompress(base64.b64decode(self.scripts[f"data-{name}"], validate=True))

    def volume(self, name: str) -> nibabel.Nifti1Image:
        return nibabel.Nifti1Image.from_bytes(self.content(name))

    def surface(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return read_mz3(self.content(name))


def read_mz3(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return points, RAS, and faces of an MZ3 file, as its description says it is laid out."""
    magic, attributes, faces, points, skip = struct.unpack("<HHIII", content[:16])
    assert (content[:2], magic, attributes, skip) == (b"MZ", 23117, 3, 0)
    assert len(content) == 16 + 12 * faces + 12 * points
    corners = np.frombuffer(content, "<i4", 3 * faces, 16).reshape(-1, 3)
    return np.frombuffer(content, "<f4", 3 * points, 16 + 12 * faces).reshape(-1, 3), corners


def labeled(direction: np.ndarray = SIGNED_PERMUTATIONS[0]) -> tuple[sitk.Image, sitk.Image]:
    """Return the CT of the tiny case and its label map."""
    case = tiny_case(direction=direction)
    liver, vessel, tumor = (array(mask) for mask in (case.liver, case.vessel, case.tumor))
    values = np.where(tumor, 3, np.where(liver & vessel, 2, liver)).astype(np.uint8)
    return case.ct, image(values, Grid.of(case.ct))
