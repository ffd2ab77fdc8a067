"""Looks of made patients: images rendered from maps of tissues, and phantoms for a cohort.

An image is rendered in this order: `deformation` says where in a map each voxel lies, `contrast` gives every tissue its
HU, `lesions` are put into the liver, and the `scanner` blurs, averages and adds noise. `compose` puts them together;
`scenes` makes the images for training, of which `parts` names what varies, from `maps` of tissues on disk; `cohort`
makes whole CTs. May import `anatomy`, `volume` and `runtime`.
"""
