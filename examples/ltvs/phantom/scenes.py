"""Images for training, each of a patient in another shape, with other contrasts, lesions and scanner.

The scene of stage 1 is a stack of whole slices, anywhere from neck to thigh; that of stage 2 is a part of the liver.
Both are rendered on a finer grid than the image's, which is averaged as a scanner averages.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int16, UInt8
from numpy import ndarray
from torch import Tensor

from ltvs.phantom.compose import Rendering, organ_of, render
from ltvs.phantom.contrast import ANY_PHASE, VISIBLE_VESSELS, draw_cohort_contrast, draw_contrast
from ltvs.phantom.deformation import STILL, Deformation
from ltvs.phantom.fields import Spacing, Triple
from ltvs.phantom.lesions import COHORT, WIDE, draw_cohort_counts, draw_counts, draw_lesions
from ltvs.phantom.maps import MappedPatient, TissueMap
from ltvs.phantom.parts import Part
from ltvs.phantom.scanner import Scanner, draw_cohort_noise

CPU = torch.device("cpu")

#: A cohort's: width and part of the body beyond the liver, and width of a liver, mm; liters of a liver.
_FIELD, _BEYOND, _LIVER_WIDTH, _LITERS = (317.0, 420.0), 20.0, 215.0, 1.5


@dataclass(frozen=True)
class Scene:
    """An image for training.

    Args:
        hu: (d, h, w), int16.
        labels: 0 background, 1 liver, 2 vessel, 3 tumor, (d, h, w).
        spacing: mm along d, h, w.
    """

    hu: Int16[ndarray, "d h w"]
    labels: UInt8[ndarray, "d h w"]
    spacing: Spacing


@dataclass(frozen=True)
class _Kind:
    """How the scenes of a stage are made.

    Args:
        finer: voxels of the rendered body that make one of the image, along each axis.
        noise: bounds of the noise's standard deviation, HU.
        phases: how often each phase of contrast enhancement is drawn.
        shuffled: share of the scenes in which shape has to tell organs, since their HU are random.
        liters: least amount of liver for which lesions are drawn.
    """

    finer: Triple
    noise: tuple[float, float]
    phases: tuple[float, ...]
    shuffled: float
    liters: float


_SLICES = _Kind((1, 2, 2), (2.0, 16.0), ANY_PHASE, shuffled=0.3, liters=0.0)
_LIVER = _Kind((2, 2, 2), (3.0, 26.0), VISIBLE_VESSELS, shuffled=0.0, liters=0.5)


def whole_slices(
    patient: MappedPatient,
    size: Triple,
    pixels: int,
    slice_spacing: float,
    rng: np.random.Generator,
    device: torch.device = CPU,
    fixed: Collection[Part] = (),
) -> Scene:
    """Return whole slices, or a part of them, of a body in a field of view that may cut it or be much wider.

    Args:
        patient: to look at.
        size: of the image, (d, h, w) voxels.
        pixels: rows and columns of whole slices.
        slice_spacing: mm.
        rng: decides everything.
        device: where it is rendered.
        fixed: parts that do not vary.
    """
    d, h, w = size
    width = rng.uniform(*_FIELD) if "range" in fixed else 2 * patient.half_width * rng.uniform(0.84, 1.4)
    pixel, reach = width / pixels, 0.5 * d * slice_spacing
    middle = _about_the_liver(patient, reach, rng) if "range" in fixed else _anywhere(patient, reach, rng)
    field, aside = rng.normal(0, 12, 2), 0.5 * pixel * np.maximum([pixels - h, pixels - w], 0)
    aside = rng.uniform(-aside, aside)
    center = np.array([middle, *(field + aside)])
    seen = _look(patient.body, center, size, (slice_spacing, pixel, pixel), _SLICES, rng, device, fixed)
    if "range" not in fixed and rng.random() < 0.2:  # nothing is reconstructed outside a circle
        y, x = (
            torch.arange(n, device=device) - (n - 1) / 2 + mm / pixel
            for n, mm in zip((h, w), aside.tolist(), strict=True)
        )
        outside = torch.hypot(y[:, None], x) > pixels / 2
        seen.hu.masked_fill_(outside, -1024.0)
        seen.labels.masked_fill_(outside, 0)
    return _scene(seen, (slice_spacing, pixel, pixel))


def part_of_liver(
    patient: MappedPatient,
    size: Triple,
    pixels: int,
    slice_spacing: float,
    margin: float,
    rng: np.random.Generator,
    device: torch.device = CPU,
    fixed: Collection[Part] = (),
) -> Scene:
    """Return a part of a liver as large as an image, around a point in it or in its vessels.

    Args:
        patient: to look at.
        size: of the image, (d, h, w) voxels.
        pixels: rows and columns of the box around a whole liver.
        slice_spacing: mm.
        margin: of that box on every side, mm.
        rng: decides everything.
        device: where it is rendered.
        fixed: parts that do not vary.
    """
    width = _LIVER_WIDTH if "resolution" in fixed else rng.uniform(175, 260)
    pixel = (width + 2 * margin) / pixels
    center = patient.places[int(rng.integers(len(patient.places)))] + rng.normal(0, 8, 3)
    spacing = (slice_spacing, pixel, pixel)
    return _scene(_look(patient.liver, center, size, spacing, _LIVER, rng, device, fixed), spacing)


def _anywhere(patient: MappedPatient, reach: float, rng: np.random.Generator) -> float:
    """Draw the middle of slices that reach some mm to either side: often near the liver, else from neck to thigh."""
    if rng.random() < 0.7:
        return float(patient.places[int(rng.integers(len(patient.places))), 0]) + rng.normal(0, 0.5 * reach)
    body = patient.body
    low, high = body.first[0], body.first[0] + body.tissue.shape[0] * body.spacing
    return float(rng.uniform(low + 0.5 * reach, high - 0.5 * reach))


def _about_the_liver(patient: MappedPatient, reach: float, rng: np.random.Generator) -> float:
    """Draw the middle of slices that end near the liver."""
    low, high = float(patient.places[:, 0].min()) - _BEYOND, float(patient.places[:, 0].max()) + _BEYOND
    return rng.uniform(low + reach, high - reach) if high - low > 2 * reach else (low + high) / 2


def _look(
    source: TissueMap,
    center: ndarray,
    size: Triple,
    spacing: Spacing,
    kind: _Kind,
    rng: np.random.Generator,
    device: torch.device,
    fixed: Collection[Part],
) -> Rendering:
    """Render an image of a map in a new shape."""
    (d, h, w), (a, b, c) = size, kind.finer
    many, fine = (a * d, b * h, c * w), (spacing[0] / a, spacing[1] / b, spacing[2] / c)
    extent = ((many[0] - 1) * fine[0], (many[1] - 1) * fine[1], (many[2] - 1) * fine[2])
    shape = STILL if "shape" in fixed else Deformation.draw(extent, rng)
    tissue = source.sample(shape.knots(extent, center, device), many)
    contrast = draw_cohort_contrast(rng) if "contrast" in fixed else draw_contrast(rng, kind.phases, kind.shuffled)
    liver = organ_of(tissue)
    liters = float(liver.sum()) * fine[0] * fine[1] * fine[2] / 1e6
    if "lesions" in fixed:
        tumors, benign = rng.binomial(draw_cohort_counts(rng), min(1.0, liters / _LITERS)).tolist()
    else:
        tumors, benign = draw_counts(max(liters, kind.liters), rng)
    looks = COHORT if "lesions" in fixed else WIDE
    lesions = draw_lesions(liver, fine, contrast, rng, tumors=tumors, benign=benign, looks=looks)
    return render(tissue, fine, size, contrast, lesions, _scanner(kind, spacing, rng, fixed), rng)


def _scanner(kind: _Kind, spacing: Spacing, rng: np.random.Generator, fixed: Collection[Part]) -> Scanner:
    scanner = Scanner.draw(rng, kind.noise)
    if "resolution" in fixed:
        scanner = replace(scanner, blur=0.33, thickness=spacing[0])
    if "noise" in fixed:
        noise = draw_cohort_noise(spacing[2], rng)
        scanner = replace(scanner, noise=noise, grain=0.5, cupping=0.0, streaks=0.0)
    return scanner


def _scene(seen: Rendering, spacing: Spacing) -> Scene:
    hu: Tensor = seen.hu.round().clamp_(-1024, 3071).to(torch.int16)
    return Scene(hu.cpu().numpy(), seen.labels.cpu().numpy(), spacing)
