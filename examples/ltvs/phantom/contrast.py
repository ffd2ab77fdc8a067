"""The contrasts of a CT: HU of every tissue, drawn anew for each image."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from ltvs.anatomy.tissues import LIVER_VESSELS, OUTER_VESSELS, Tissue, lookup

#: Phases of contrast enhancement, and how often each is drawn: whatever a scanner sends, or vessels that can be seen.
PHASES = ("portal", "arterial", "delayed", "native")
ANY_PHASE, VISIBLE_VESSELS = (0.75, 0.10, 0.10, 0.05), (0.88, 0.03, 0.09, 0.0)
#: Tissues that may be shifted at random without becoming another kind of thing: neither air, nor bone, nor fat.
_SOFT = tuple(
    tissue
    for tissue in Tissue
    if tissue
    not in (Tissue.AIR, Tissue.TABLE, Tissue.FOAM, Tissue.FAT, Tissue.HAZE, Tissue.LUNG, Tissue.GAS, Tissue.BONE)
)


@dataclass(frozen=True)
class Contrast:
    """The look of the tissues in one image.

    Args:
        hu: of each tissue, indexed by its value.
        roughness: standard deviation of each tissue's texture, HU.
        liver: HU of the liver.
        blood: HU of the portal vein.
        uneven: HU by which areas of the liver with less fat are brighter, and those with more are darker by a third.
        sheath: HU by which the liver is darker along thick branches of the portal vein, where fat comes with them.
    """

    hu: ndarray
    roughness: ndarray
    liver: float
    blood: float
    uneven: float = 0.0
    sheath: float = 0.0


def draw_contrast(rng: np.random.Generator, shares: tuple[float, ...] = ANY_PHASE, shuffled: float = 0.0) -> Contrast:
    """Draw the HU and the texture of every tissue.

    Args:
        rng: decides everything.
        shares: how often each of `PHASES` is drawn.
        shuffled: how often every soft tissue is shifted by up to 50 HU on its own, so that shape has to tell organs.

    Source: measured in three portal-venous CTs; phases from common protocols.
    """
    normal, uniform = rng.normal, rng.uniform
    phase = PHASES[int(rng.choice(len(PHASES), p=shares))]
    liver = float(np.clip(normal(110, 20), 60, 170))
    if phase == "native":
        liver = float(normal(55, 8))
    healthy = liver
    portal = healthy + max(15.0, float(normal(65, 20)))
    aorta = float(normal(160, 25))
    hepatic = portal - float(uniform(0, 45))
    if phase == "arterial":
        liver, aorta = healthy * 0.75, float(uniform(220, 380))
        portal, hepatic = liver + float(uniform(10, 50)), liver + float(uniform(-10, 15))
    elif phase == "delayed":
        portal = healthy + float(uniform(15, 40))
        hepatic, aorta = portal + float(normal(0, 5)), portal + float(normal(5, 8))
    elif phase == "native":
        aorta = portal = hepatic = float(normal(40, 5))
    if rng.random() < 0.12:  # fatty
        liver = max(liver - float(uniform(15, 70)), 15.0)
    hepatic = max(hepatic, liver + 12) if phase in ("portal", "delayed") else hepatic
    enhanced = phase != "native"
    fat = float(normal(-98, 9))
    meal = float(uniform(100, 400)) if rng.random() < 0.1 else float(uniform(0, 55))
    urine = float(uniform(150, 900)) if rng.random() < 0.12 else float(normal(8, 8))
    values: dict[Tissue, float] = {
        Tissue.AIR: -1000.0, Tissue.TABLE: uniform(-400, 0), Tissue.FOAM: uniform(-980, -600),
        Tissue.SKIN: normal(15, 20), Tissue.FAT: fat, Tissue.HAZE: fat + uniform(20, 65),
        Tissue.MUSCLE: normal(60, 9), Tissue.LUNG: normal(-840, 50), Tissue.LUNG_VESSEL: uniform(-300, 80),
        Tissue.GAS: -970.0, Tissue.HEART: normal(105, 14) if enhanced else 45.0,
        Tissue.HEART_BLOOD: aorta + normal(0, 10), Tissue.ARTERY: aorta, Tissue.PLAQUE: uniform(300, 800),
        Tissue.VEIN: hepatic - uniform(0, 40), Tissue.CAVA: hepatic - uniform(-8, 40),
        Tissue.MESENTERIC_VEIN: portal + normal(0, 8), Tissue.LIVER: liver, Tissue.PORTAL_VEIN: portal,
        Tissue.HEPATIC_VEIN: hepatic, Tissue.SPLEEN: healthy + normal(12, 12) if enhanced else 48.0,
        Tissue.CORTEX: normal(190, 30) if enhanced else 32.0, Tissue.MEDULLA: normal(165, 30) if enhanced else 30.0,
        Tissue.URINE: urine, Tissue.PANCREAS: normal(100, 15) if enhanced else 40.0,
        Tissue.ADRENAL: normal(80, 15) if enhanced else 25.0, Tissue.WALL: normal(80, 20),
        Tissue.STOMACH_CONTENT: meal, Tissue.BOWEL_CONTENT: meal if meal > 90 else uniform(5, 65),
        Tissue.STOOL: uniform(15, 90), Tissue.BILE: normal(8, 8), Tissue.BONE: normal(430, 90),
        Tissue.MARROW: normal(180, 55), Tissue.DISC: normal(85, 14), Tissue.CARTILAGE: normal(105, 18),
        Tissue.CORD: normal(40, 6), Tissue.FLUID: normal(10, 7), Tissue.ORGAN: normal(78, 20),
    }  # fmt: skip
    values[Tissue.PORTAL_TRUNK] = portal
    uneven = float(rng.uniform(5, 42)) if rng.random() < 0.5 else 0.0
    sheath = float(rng.uniform(15, 90)) if rng.random() < 0.25 else 0.0
    if rng.random() < shuffled:
        for tissue in _SOFT:
            values[tissue] += float(uniform(-50, 50))
    liver, portal = values[Tissue.LIVER], values[Tissue.PORTAL_VEIN]
    return Contrast(lookup(values), _draw_roughness(rng), liver, portal, uneven, sheath)


def draw_cohort_contrast(rng: np.random.Generator) -> Contrast:
    """Draw contrasts like those of a real portal-venous case: liver 92 to 106 HU, vessels 46 to 60 above it."""
    liver, enhancement, aorta = rng.uniform(92, 106), rng.uniform(46, 60), rng.uniform(140, 165)
    drawn = draw_contrast(rng, (1.0, 0.0, 0.0, 0.0))
    hu = drawn.hu.copy()
    hu[[*LIVER_VESSELS, *OUTER_VESSELS, Tissue.MESENTERIC_VEIN]] = liver + enhancement
    hu[[Tissue.ARTERY, Tissue.HEART_BLOOD, Tissue.VEIN]] = aorta
    hu[Tissue.LIVER], hu[Tissue.SPLEEN] = liver, rng.uniform(112, 128)
    return Contrast(hu, drawn.roughness, float(liver), float(liver + enhancement), rng.uniform(28, 42))


def _draw_roughness(rng: np.random.Generator) -> ndarray:
    organ = float(rng.uniform(1.5, 7))
    values = dict.fromkeys(Tissue, organ) | {
        Tissue.AIR: 0.0, Tissue.TABLE: 0.0, Tissue.FOAM: 8.0, Tissue.GAS: 0.0,
        Tissue.FAT: float(rng.uniform(3, 10)), Tissue.HAZE: 12.0, Tissue.MUSCLE: float(rng.uniform(4, 12)),
        Tissue.LUNG: float(rng.uniform(10, 40)), Tissue.LUNG_VESSEL: 60.0, Tissue.BILE: 1.0, Tissue.FLUID: 2.0,
        Tissue.URINE: 2.0, Tissue.STOMACH_CONTENT: 14.0, Tissue.BOWEL_CONTENT: 12.0, Tissue.STOOL: 30.0,
        Tissue.BONE: 60.0, Tissue.MARROW: 25.0, Tissue.PANCREAS: 8.0, Tissue.WALL: 8.0, Tissue.ORGAN: 10.0,
    }  # fmt: skip
    return lookup(values)
