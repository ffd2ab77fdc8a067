"""Synthetic patients: CT phantoms with the masks that belong to them. May import `volume` and `runtime`."""

from ltvs.phantom.patient import make_phantom

__all__ = ["make_phantom"]
