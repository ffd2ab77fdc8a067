"""Looks of made patients: images rendered from maps of tissues, and phantoms for a cohort.

An image is rendered in this order: `deformation` says where in a map each voxel lies, `contrast` gives every tissue its
HU, `lesions` are put into the liver, and the `scanner` blurs, averages and adds noise. `rendering` puts them together,
`maps` keeps tissues on disk, `cohort` makes whole CTs. May import `anatomy`, `volume` and `runtime`.
"""

from ltvs.phantom.cohort import make_phantom

__all__ = ["make_phantom"]
