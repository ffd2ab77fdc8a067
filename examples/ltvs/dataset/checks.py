"""Checks of a case before it is prepared: --check reports their findings, and errors among them stop preparation."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, Int16
from numpy import ndarray

from ltvs.model.stage_view import Preparation
from ltvs.model.stages import PATCH, STAGES
from ltvs.volume.case import Case
from ltvs.volume.grids import Grid
from ltvs.volume.hounsfield import not_hu, not_liver
from ltvs.volume.images import same_grid

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something wrong (`error`: the case cannot be used), odd (`warning`) or usual (`note`), with a remedy."""

    level: Level
    text: str


@dataclass(frozen=True)
class Facts:
    """Measurements of a case.

    Args:
        size: voxels of the CT, (x, y, z).
        spacing: mm, (x, y, z).
        hu: lowest and highest value of the CT.
        ml: volume of liver, tumor and vessel by name, as far as they were labeled.
        ct: digest of the size and the voxels of the CT, but not of its position in space.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    hu: tuple[int, int]
    ml: dict[str, float]
    ct: str


@dataclass(frozen=True)
class Report:
    """The result of checking one case: its facts, None if they could not be measured, and the findings."""

    facts: Facts | None
    findings: tuple[Finding, ...]

    def texts(self, level: Level) -> list[str]:
        """Return the findings of a level; a case without errors can be used."""
        return [finding.text for finding in self.findings if finding.level == level]


def examine(case: Case, preparation: Preparation, *, force: bool = False) -> Report:
    """Check one case, masks first: nothing else can be checked where they do not match the CT.

    Args:
        case: the case.
        preparation: of the case.
        force: whether values that are not HU are a warning, not an error.
    """
    masks = {"liver": case.liver, "tumor": case.tumor}
    if case.vessel is not None:
        masks["vessel"] = case.vessel
    unlike = [finding for name, mask in masks.items() for finding in _unlike(case, name, mask)]
    if unlike:
        return Report(None, tuple(unlike))
    hu = sitk.GetArrayViewFromImage(case.ct)
    marked = {name: sitk.GetArrayViewFromImage(mask) > 0 for name, mask in masks.items()}
    liver = marked["liver"]
    voxels = {name: int(np.count_nonzero(mask)) for name, mask in marked.items()}
    outside = {name: int(np.count_nonzero(mask & ~liver)) for name, mask in marked.items() if name != "liver"}
    facts = Facts(
        size=case.ct.GetSize(),
        spacing=case.ct.GetSpacing(),
        hu=(int(hu.min()), int(hu.max())),
        ml={name: float(count * np.prod(case.ct.GetSpacing()) / 1000) for name, count in voxels.items()},
        ct=hashlib.sha256(repr(hu.shape).encode() + hashlib.sha256(hu.data).digest()).hexdigest(),
    )
    findings = [*_values(hu, liver, force), *_places(voxels, outside)]
    if voxels["liver"]:
        findings += _depths(case, preparation)
    return Report(facts, tuple(Finding(finding.level, f"{case.name}: {finding.text}") for finding in findings))


def repeated(cts: Mapping[str, str], patients: Mapping[str, str]) -> dict[str, list[Finding]]:
    """Find CTs and patients that occur under two names.

    Args:
        cts: digest of each case's CT, by name; of two that are equal, the first one stays.
        patients: the patient of each case, by name.

    Returns:
        Findings by the name of the later case.
    """
    first_ct: dict[str, str] = {}
    first_case: dict[str, str] = {}
    findings: dict[str, list[Finding]] = {}
    for name, ct in cts.items():
        twin, sibling = first_ct.setdefault(ct, name), first_case.setdefault(patients[name], name)
        if twin != name and patients[twin] != patients[name]:
            text = f"has the CT of {twin}, as another patient; remove one of the two"
            findings.setdefault(name, []).append(Finding("error", f"{name}: {text}"))
        elif twin != name:
            text = f"has the CT of {twin}, of the same patient; if that is a mistake, remove one of the two"
            findings.setdefault(name, []).append(Finding("warning", f"{name}: {text}"))
        elif sibling != name:
            text = f"is of the same patient as {sibling} ({patients[name]}); both go to the same part of the split"
            findings.setdefault(name, []).append(Finding("warning", f"{name}: {text}"))
    return findings


def _unlike(case: Case, name: str, mask: sitk.Image) -> list[Finding]:
    """Find out whether a mask is no mask, or lies elsewhere than the CT.

    A thousandth of a voxel is allowed: headers in single precision round by a tenth of that at most (1e-7 of the half
    meter that a CT measures, against voxels of half a millimeter), and a label moves only at half a voxel.
    """
    highest = int(sitk.GetArrayViewFromImage(mask).max())
    if highest > 1:
        return [Finding("error", f"{case.name}: expected 0 and 1 in the {name} mask, got {highest}")]
    if same_grid(mask, case.ct):
        return []
    differences = Grid.of(mask).differences(Grid.of(case.ct))
    text = f"the {name} mask does not lie on the CT: {differences}; is it of another CT?"
    return [Finding("error", f"{case.name}: {text}")]


def _values(hu: Int16[ndarray, "d h w"], liver: Bool[ndarray, "d h w"], force: bool) -> list[Finding]:
    """Find out whether the CT is in HU, and whether the liver is in the range of livers."""
    level: Level = "warning" if force else "error"
    remedy = "taken as it is (--force)" if force else "--force takes it as it is"
    if not liver.any():
        return [Finding("error", "the liver mask is empty; leave the case out, or mark the liver")]
    if (reason := not_hu(hu)) is not None:
        return [Finding(level, f"{reason}; {remedy}")]
    if (reason := not_liver(float(np.median(hu[liver])))) is not None:
        return [Finding(level, f"{reason}; is the CT in HU, and is the mask of this CT? {remedy}")]
    return []


def _places(voxels: Mapping[str, int], outside: Mapping[str, int]) -> list[Finding]:
    """Find tumors and vessels outside the liver. Vessels may leave it, as the vena cava does."""
    findings = []
    parts: list[tuple[str, Level, str]] = [("tumor", "warning", "count as liver"), ("vessel", "note", "are cut off")]
    for name, level, becomes in parts:
        count, beyond = voxels.get(name, 0), outside.get(name, 0)
        if not beyond or not voxels["liver"]:
            continue
        if beyond == count:
            text = f"all {count} voxels of the {name} lie outside the liver; are both masks of this CT?"
            findings.append(Finding("error", text))
        else:
            text = f"{beyond} of {count} voxels of the {name} ({100 * beyond / count:.1f}%) lie outside the liver"
            findings.append(Finding(level, f"{text}; they {becomes}"))
    return findings


def _depths(case: Case, preparation: Preparation) -> list[Finding]:
    """Find stages whose grid has fewer slices than a patch of the paper."""
    grids = {stage: preparation.view(stage).grid(case.ct, case.liver) for stage in STAGES}
    return [
        Finding(
            "warning",
            f"stage {stage} gets {grid.size[2]} slices, but a patch has {PATCH[0]}, so patches are padded; "
            "prepare finer slices, or train with a smaller --patch",
        )
        for stage, grid in grids.items()
        if grid.size[2] < PATCH[0]
    ]
