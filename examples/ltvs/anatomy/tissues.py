"""The tissues of a synthetic patient. A map of tissues holds these values as uint8."""

from enum import IntEnum, auto

import numpy as np


class Tissue(IntEnum):
    """A kind of tissue with a look of its own."""

    AIR = 0
    TABLE = auto()
    FOAM = auto()
    SKIN = auto()
    FAT = auto()
    HAZE = auto()
    MUSCLE = auto()
    LUNG = auto()
    LUNG_VESSEL = auto()
    GAS = auto()
    HEART = auto()
    HEART_BLOOD = auto()
    ARTERY = auto()
    PLAQUE = auto()
    VEIN = auto()
    CAVA = auto()
    MESENTERIC_VEIN = auto()
    LIVER = auto()
    PORTAL_VEIN = auto()
    HEPATIC_VEIN = auto()
    SPLEEN = auto()
    CORTEX = auto()
    MEDULLA = auto()
    URINE = auto()
    PANCREAS = auto()
    ADRENAL = auto()
    WALL = auto()
    STOMACH_CONTENT = auto()
    BOWEL_CONTENT = auto()
    STOOL = auto()
    BILE = auto()
    BONE = auto()
    MARROW = auto()
    DISC = auto()
    CARTILAGE = auto()
    CORD = auto()
    FLUID = auto()
    ORGAN = auto()
    PORTAL_TRUNK = auto()


#: The tissues of the liver, and the vessels in it; outside the liver, portal and hepatic veins are other tissues.
LIVER_TISSUES = (Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
LIVER_VESSELS = (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
#: Vessels that are labeled, too, where they leave the liver.
OUTER_VESSELS = (Tissue.CAVA, Tissue.PORTAL_TRUNK)


def lookup(values: dict[Tissue, float], default: float = 0.0) -> np.ndarray:
    """Return an array that holds, at the index of each tissue, its value, float32."""
    table = np.full(len(Tissue), default, dtype=np.float32)
    for tissue, value in values.items():
        table[tissue] = value
    return table
