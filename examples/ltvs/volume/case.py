"""A patient's CT and masks as a source delivers them, before any preparation."""

from dataclasses import dataclass

import SimpleITK as sitk


@dataclass(frozen=True)
class Case:
    """A CT and its masks, all on the CT's own grid.

    Args:
        name: unique within its source; used as a file name.
        ct: HU, int16.
        liver: 0/1 mask, uint8, of the whole organ.
        vessel: 0/1 mask, uint8; may reach outside the liver (vena cava, portal trunk). None if vessels were not
            labeled, which is not the same as a patient without any.
        tumor: 0/1 mask, uint8; all zero in a patient without liver tumors.
    """

    name: str
    ct: sitk.Image
    liver: sitk.Image
    vessel: sitk.Image | None
    tumor: sitk.Image
