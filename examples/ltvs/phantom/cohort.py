"""Phantoms for a cohort: a CT of the upper abdomen in HU with masks of liver, vessels and tumors, decided by a seed.

Unlike the images that training renders on the fly, which vary as widely as CTs do, these look like the portal-venous
CTs of one center: their contrasts and noise are those measured in a real case, so that twelve of them teach a network
to label four others.
"""

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ltvs.anatomy.canvas import Canvas
from ltvs.anatomy.patient import Patient
from ltvs.anatomy.tissues import OUTER_VESSELS, lookup
from ltvs.phantom.compose import of_tissue, organ_of, render
from ltvs.phantom.contrast import draw_cohort_contrast
from ltvs.phantom.lesions import COHORT, draw_cohort_counts, draw_lesions
from ltvs.phantom.scanner import Scanner, draw_cohort_noise
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.labels import BACKGROUND, TUMOR, VESSEL

#: Version of the phantoms, raised when a seed gives another CT.
VERSION = 3
#: Slices thicker than this are painted as several and averaged, as a scanner does, mm.
_THICKEST = 2.0
#: Makes other patients of phantoms than of maps with the same seed, so that they can test what maps have trained.
_APART = 1


def make_phantom(
    seed: int, *, matrix: int = 512, slice_spacing: float | None = None, anatomy: sitk.Image | None = None
) -> Case:
    """Return a CT phantom.

    Args:
        seed: decides everything; 0 or more.
        matrix: rows and columns; the field of view is 512 times 0.62-0.82 mm, whatever the matrix.
        slice_spacing: mm; drawn from 0.8-2 mm if None.
        anatomy: label map of a real liver (above 0) and its vessels (2) to build around; synthetic ones if None.

    Returns:
        The CT with masks of the liver, its vessels (which continue outside it) and its tumors.

    Raises:
        InputError: a matrix too small to show a liver, a spacing that is not positive, a negative seed, or an anatomy
            without liver or vessels.
    """
    if seed < 0:
        raise InputError(f"phantom: expected a seed of 0 or more; got {seed}")
    if matrix < 64:
        raise InputError(f"phantom: expected a matrix of 64 or more; got {matrix}")
    if slice_spacing is not None and not slice_spacing > 0:
        raise InputError(f"phantom: expected a slice spacing above 0 mm; got {slice_spacing}")
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.62, 0.82) * 512 / matrix
    drawn = float(rng.choice([0.8, 1.0, 1.25, 1.5, 2.0], p=[0.25, 0.4, 0.1, 0.1, 0.15]))
    step = drawn if slice_spacing is None else slice_spacing
    patient = Patient.draw((seed, _APART), spacing * matrix, anatomy)
    low, high = patient.extent[0] - 12, patient.extent[1] + 15
    slices, finer = int(np.ceil((high - low) / step)), max(1, round(step / _THICKEST))
    across = ((np.arange(matrix) - (matrix - 1) / 2) * spacing).astype(np.float32)
    thin = (low + (np.arange(slices * finer) - (finer - 1) / 2) * step / finer).astype(np.float32)
    canvas = Canvas(across, across, thin)
    patient.paint(canvas)
    tissue, fine, size = torch.from_numpy(canvas.tissue), (step / finer, spacing, spacing), (slices, matrix, matrix)
    contrast = draw_cohort_contrast(rng)
    tumors, benign = draw_cohort_counts(rng)
    liver = organ_of(tissue)
    lesions = draw_lesions(liver, fine, contrast, rng, tumors=tumors, benign=benign, looks=COHORT)
    scanner = Scanner(blur=0.45 * spacing, thickness=step, noise=draw_cohort_noise(spacing, rng), grain=0.5)
    seen = render(tissue, fine, size, contrast, lesions, scanner, rng)
    masks = (seen.labels > BACKGROUND, (seen.labels == VESSEL) | _outer_vessels(tissue, slices), seen.labels == TUMOR)
    ct = seen.hu.round_().clamp_(-1024, 3071).to(torch.int16)
    grid = Grid(
        (matrix, matrix, slices), (spacing, spacing, step), (float(across[0]), float(across[0]), float(low)),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )  # fmt: skip
    arrays = (ct, *(mask.to(torch.uint8) for mask in masks))
    return Case(f"phantom-{seed:04d}", *(grid.place(sitk.GetImageFromArray(array.numpy())) for array in arrays))


def _outer_vessels(tissue: Tensor, slices: int) -> Tensor:
    """Return where labeled vessels outside the liver fill half of a slice or more."""
    outer = of_tissue(tissue, torch.as_tensor(lookup(dict.fromkeys(OUTER_VESSELS, 1.0))))
    return outer.view(slices, -1, *tissue.shape[1:]).mean(1) >= 0.5
