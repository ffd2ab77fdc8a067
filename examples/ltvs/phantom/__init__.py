"""Synthetic patients: CT phantoms with masks of liver, vessels and tumors. May import `volume` and `runtime`."""

from ltvs.phantom.patient import make_phantom

__all__ = ["make_phantom"]
