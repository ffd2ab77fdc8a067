"""Whether values can be Hounsfield units (HU): air is at -1000, fat near -100, water at 0, a liver near 100."""

#: HU that fat is below: with its noise, every CT of an abdomen has such voxels, also one cut off at the patient's skin.
_FAT = -50

#: Median HU of a liver: about 60 without contrast, 100 to 150 with it, up to 80 less in a fatty one. Far beyond, the
#: file does not hold HU, or the mask marks no liver: lung has -800, stored values without intercept 1100.
_LIVER = (-100.0, 400.0)


def not_hu(low: int, high: int) -> str | None:
    """Say why a volume cannot be a CT in HU, or return None if it can.

    Args:
        low: its lowest value.
        high: its highest value.
    """
    if low >= 0 and high <= 255:
        return f"CT of {low} to {high}, a picture of 8 bits or a label map and not HU; export the CT itself"
    if low >= 0:
        return f"CT of {low} to {high}, air and fat are below 0 HU; apply the rescale intercept, often -1024"
    if low > _FAT:
        return f"CT of {low} to {high}, fat is below {_FAT} HU; was it scaled? export the CT itself"
    return None


def not_liver(median: float) -> str | None:
    """Say why what is marked as liver cannot be one, or return None if it can.

    Args:
        median: of the CT's values in the liver.
    """
    low, high = _LIVER
    if low <= median <= high:
        return None
    return f"the liver has a median of {median:g} HU, expected {low:g} to {high:g}"
