"""What a label map shows, in ml and mm, and reasons to distrust it. May import `volume` and `runtime`."""

from importlib import import_module
from typing import TYPE_CHECKING

#: Modules by what they define. They are imported once it is asked for: SciPy and scikit-image take half a second.
_HOMES = {
    "Measured": "files",
    "Measurements": "measuring",
    "Tumor": "tumors",
    "find_doubts": "doubts",
    "measure": "measuring",
    "write_measurements": "files",
}

__all__ = ["Measured", "Measurements", "Tumor", "find_doubts", "measure", "write_measurements"]

if TYPE_CHECKING:
    from ltvs.measurement.doubts import find_doubts
    from ltvs.measurement.files import Measured, write_measurements
    from ltvs.measurement.measuring import Measurements, measure
    from ltvs.measurement.tumors import Tumor
else:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
