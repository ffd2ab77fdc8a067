"""Made patients: CT phantoms with the masks that belong to them."""

from ltvs.phantom.patient import make_phantom

__all__ = ["make_phantom"]
