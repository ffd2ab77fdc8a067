"""The measurements and doubts of a case as HTML, which a page shows even where it cannot draw."""

from collections.abc import Collection
from html import escape

from ltvs.measurement.files import Measured
from ltvs.measurement.tumors import Tumor
from ltvs.volume.labels import COLORS, Structure

#: Names of the structures on the page.
NAMES: dict[Structure, str] = {"liver": "Liver", "vessel": "Vessels", "tumor": "Tumors"}

#: Tumors that are listed: a network that sees specks everywhere makes thousands, which no one reads one by one.
MOST_TUMORS = 100


def doubts_html(doubts: tuple[str, ...]) -> str:
    """Return the reasons to distrust a case as HTML; nothing without any."""
    if not doubts:
        return ""
    items = "".join(f"<li>{escape(doubt)}</li>" for doubt in doubts)
    head = "<h2>Check these labels before you use them</h2>"
    return f'<section class="doubts" role="alert">{head}<ul>{items}</ul></section>'


def switches_html(structures: Collection[Structure]) -> str:
    """Return a switch per structure, with its color, as HTML."""
    return "".join(
        f'<label><input type="checkbox" value="{name}" checked>{_swatch(name)}{NAMES[name]}</label>'
        for name in NAMES
        if name in structures
    )


def results_html(measured: Measured) -> str:
    """Return volumes and tumors as HTML tables; a tumor's button holds its center in mm, RAS."""
    found = measured.measurements
    volumes: dict[Structure, float] = {"liver": found.liver_ml, "vessel": found.vessels_ml, "tumor": found.tumors_ml}
    rows = "".join(
        f'<tr><th scope="row">{_swatch(name)} {NAMES[name]}</th><td>{_ml(volumes[name])}</td></tr>' for name in NAMES
    )
    head = '<th scope="col">Structure</th><th scope="col">ml</th>'
    legend = (
        f'<div class="card"><h2>Volumes</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        '<p class="note">The volume of the liver includes the vessels and tumors in it.</p></div>'
    )
    return legend + _tumors_html(found.tumors)


def color(name: Structure) -> tuple[int, int, int]:
    """Return the color of a structure, 0 to 255."""
    red, green, blue = (round(255 * part) for part in COLORS[name])
    return red, green, blue


def _tumors_html(tumors: tuple[Tumor, ...]) -> str:
    if not tumors:
        return '<div class="card"><h2>Tumors</h2><p class="note">None labeled.</p></div>'
    heads = ("Show", "Volume, ml", "Axial diameters, mm", "To vessel, mm", "To surface, mm", "Near vessel")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    rows = "".join(_row(tumor) for tumor in tumors[:MOST_TUMORS])
    left_out = ""
    if len(tumors) > MOST_TUMORS:
        left_out = (
            f'<p class="note">These are the {MOST_TUMORS} largest of {len(tumors):,} tumors. The file of measurements '
            "lists all of them.</p>"
        )
    return (
        f'<div class="card tumors"><h2>Tumors</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{left_out}"
        '<p class="note">Axial diameters: the longest in any axial plane, and the longest perpendicular to it in that '
        "plane. To vessel and to surface: the distance from the tumor's surface to the nearest vessel and to the "
        "liver's surface; 0 where they touch. Near vessel: the share of the tumor's surface within 5 mm of a vessel."
        "</p></div>"
    )


def _row(tumor: Tumor) -> str:
    x, y, z = tumor.center_mm
    near = tumor.share_of_surface_near_vessel
    cells = (
        _ml(tumor.volume_ml),
        f"{tumor.longest_axial_diameter_mm:.1f} × {tumor.perpendicular_diameter_mm:.1f}",
        _mm(tumor.distance_to_vessel_mm),
        _mm(tumor.distance_to_liver_surface_mm),
        "–" if near is None else f"{100 * near:.0f}%",
    )
    button = (
        f'<button type="button" data-center="{-x:.2f} {-y:.2f} {z:.2f}" '
        f'aria-label="Show tumor {tumor.number}">{tumor.number}</button>'
    )
    return f"<tr><td>{button}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _swatch(name: Structure) -> str:
    red, green, blue = color(name)
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def _ml(volume: float) -> str:
    if not volume:
        return "none labeled"
    if volume < 0.005:
        return "&lt; 0.01"
    return f"{volume:,.0f}" if volume >= 100 else f"{volume:.1f}" if volume >= 1 else f"{volume:.2f}"


def _mm(distance: float | None) -> str:
    return "–" if distance is None else f"{distance:.1f}"
