"""CT images of synthetic patients: images rendered from maps of tissues for training, and phantoms for a cohort.

An image is rendered in this order: `deformation` says where in a map each voxel lies, `contrast` gives every tissue its
HU, `lesions` adds tumors and benign lesions to the liver, and `scanner` blurs, averages and adds noise. `compose` runs
these steps.

`scenes` makes the images for training from `maps` of tissues on disk, and `parts` names what varies in them. `cohort`
makes whole CTs. May import `anatomy`, `volume` and `runtime`.
"""
