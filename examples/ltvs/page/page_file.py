"""The page itself: a template, filled with the viewer, the images and the measurements."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ltvs.delivery.surfaces import structure_surfaces
from ltvs.measurement.files import Measured
from ltvs.page.embedded import HIGHEST, LOWEST, STEPS, affine_of, ct_bytes, label_bytes, surface_bytes
from ltvs.page.niivue import PACKAGE, Viewer, installed_viewer
from ltvs.page.results import NAMES, color, doubts_html, results_html, switches_html
from ltvs.page.shown import MOST_VOXELS, Shown, shown_part
from ltvs.runtime.errors import InputError, plain
from ltvs.runtime.files import atomic_path
from ltvs.volume.grids import Grid, canonical_grid
from ltvs.volume.images import same_grid
from ltvs.volume.labels import LIVER, TUMOR, VESSEL, Structure

#: Bytes of a page, at most.
LARGEST = 20_000_000

_FOLDER = Path(__file__).parent
#: In this order, as one script.
_SCRIPTS = ("shaders.js", "viewer.js", "controls.js")
_VALUES: dict[Structure, int] = {"liver": LIVER, "vessel": VESSEL, "tumor": TUMOR}
#: Opaque structures come first: what is drawn behind a transparent surface has to be there already.
_OPACITY: dict[Structure, float] = {"vessel": 1.0, "tumor": 1.0, "liver": 0.25}
#: The page's own script, and the viewer that it makes of what is embedded; nothing is fetched, from anywhere.
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Head:
    """The first line of a page.

    Args:
        title: of the case.
        origin: of the networks that drew the labels.
    """

    title: str
    origin: str


def write_page(
    path: Path, ct: sitk.Image, labels: sitk.Image, measured: Measured, *, title: str = "", origin: str = ""
) -> None:
    """Write a page that shows a CT, its labels and its measurements; a browser opens it offline.

    The page has at most 20 MB, so it shows large CTs coarser: 512 x 512 x 200 with half the columns and rows.

    Args:
        path: the page to write, .html.
        ct: the CT in HU, int16.
        labels: its label map, on its grid.
        measured: the measurements of these labels.
        title: the heading of the page.
        origin: the origin of the networks that drew the labels, shown beside the title. Empty shows nothing.

    Raises:
        InputError: the labels do not lie on the CT's grid, NiiVue is not installed, or the file cannot be written.
    """
    if not same_grid(ct, labels):
        size = " x ".join(map(str, labels.GetSize()))
        raise InputError(
            f"{path}: expected labels on the CT's grid, got {size} voxels that begin at {plain(labels.GetOrigin())} "
            "mm; give the labels of this CT"
        )
    pages = _pages(ct, labels, installed_viewer(), measured, Head(title, origin))
    page = next(page for page in pages if len(page) <= LARGEST)
    with atomic_path(path) as temporary:
        temporary.write_bytes(page)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with `{{name}}` replaced by the part of that name, once: parts may hold braces.

    Example:
        >>> filled("<b>{{a}}</b> {{b}}", {"a": "{{b}}", "b": "1"})
        '<b>{{b}}</b> 1'
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def script_json(content: Any) -> str:
    """Return JSON that cannot end the script element it stands in.

    Example:
        >>> script_json({"a": "</script>"})
        '{"a": "\\\\u003c/script>"}'
    """
    return json.dumps(content).replace("<", "\\u003c")


def _pages(ct: sitk.Image, labels: sitk.Image, viewer: Viewer, measured: Measured, head: Head) -> Iterator[bytes]:
    """Yield the page, then coarser ones: noisy voxels compress less than most."""
    most, packed_viewer = MOST_VOXELS, _element("viewer", viewer.module.encode())
    while True:
        shown = shown_part(ct, labels, most)
        surfaces = structure_surfaces(shown.labels)
        drawn = [name for name in _OPACITY if name in surfaces]
        # Of a page, HU alone depend on their steps.
        packed = [packed_viewer, _element("labels", label_bytes(shown.labels))]
        packed += [_element(name, surface_bytes(surfaces[name])) for name in drawn]
        for step in STEPS:
            data = "\n".join([*packed, _element("ct", ct_bytes(shown.ct, step))])
            page = _page(shown, step, drawn, data, viewer, measured, head).encode()
            yield page
        most = int(most * min(0.9, LARGEST / len(page)))


def _page(
    shown: Shown,
    step: int,
    drawn: Sequence[Structure],
    data: str,
    viewer: Viewer,
    measured: Measured,
    head: Head,
) -> str:
    settings = {
        "axes": _axes(Grid.of(shown.ct)),
        "limits": [LOWEST, HIGHEST],
        "start": _start(shown.labels, measured),
        "structures": [{"name": name, "value": _VALUES[name], "color": color(name)} for name in NAMES],
        "surfaces": [{"name": name, "color": color(name), "opacity": _OPACITY[name]} for name in drawn],
    }
    script = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    settings_element = f'<script type="application/json" id="settings">{script_json(settings)}</script>'
    parts = {
        "policy": _POLICY.format(script=digest),
        "title": escape(head.title or "CT with liver, vessels and tumors"),
        "origin": f'<p class="origin">Networks: {escape(head.origin)}</p>' if head.origin else "",
        "style": (_FOLDER / "viewer.css").read_text(encoding="utf-8"),
        "doubts": doubts_html(measured.doubts),
        "switches": switches_html(drawn),
        "results": results_html(measured),
        "shown": escape(_description(shown, step)),
        "package": escape(f"{PACKAGE} {viewer.version}"),
        "license": escape(viewer.license),
        "data": f"{settings_element}\n{data}",
        "script": script,
    }
    return filled((_FOLDER / "viewer.html").read_text(encoding="utf-8"), parts)


def _element(name: str, content: bytes) -> str:
    """Return bytes as an element that no browser runs or draws, the same ones for the same bytes."""
    packed = base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
    return f'<script type="application/gzip" id="data-{name}">{packed}</script>'


def _axes(grid: Grid) -> list[dict[str, float]]:
    """Return, for the axes to right, front and head, mm of the first slice, from one to the next, and their number.

    The slices of an oblique CT are as far apart as its voxels, and cross all of it.
    """
    corners = np.array([affine_of(grid) @ (*grid.index(corner), 1) for corner in grid.corners()])[:, :3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    steps = canonical_grid(grid).spacing
    return [
        {"first": float(a), "step": step, "count": int((b - a) / step + 1e-3) + 1}
        for a, b, step in zip(low, high, steps, strict=True)
    ]


def _start(labels: sitk.Image, measured: Measured) -> list[float]:
    """Return the place of the crosshair at first, mm, RAS: in the largest tumor, else amid the labels, else the CT."""
    tumors, values = measured.measurements.tumors, sitk.GetArrayViewFromImage(labels)
    grid = Grid.of(labels)
    if tumors:
        wanted, places = grid.index(tumors[0].center_mm), np.argwhere(values == TUMOR)[:, ::-1]
    else:
        places = np.argwhere(values)[:, ::-1]
        wanted = places.mean(axis=0) if len(places) else np.subtract(grid.size, 1) / 2
    if len(places):
        # A crescent's center is not in it.
        wanted = places[(((places - wanted) * grid.spacing) ** 2).sum(axis=1).argmin()]
    return [float(mm) for mm in (affine_of(grid) @ (*wanted, 1))[:3]]


def _description(shown: Shown, step: int) -> str:
    x, y, z = shown.blocks
    text = "The slices show the CT in full resolution."
    if shown.blocks != (1, 1, 1):
        text = f"Each voxel in the slices, with its HU, is the mean of {x} x {y} x {z} voxels of the CT."
    if shown.is_cropped:
        text += " The page leaves out slices more than 40 mm above or below the liver."
    return f"{text} HU are rounded to steps of {step}. The measurements are from the CT in full resolution."
