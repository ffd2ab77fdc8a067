"""The study behind the defaults: skip connections trained on the same cases, in the same order, at the same cost.

`python -m benchmarks.accuracy` trains and tests variants; it needs torch, numpy, scipy, scikit-image, einops,
jaxtyping, MONAI, lightning-fabric and safetensors, and none of the libraries that read medical images.
`python -m benchmarks.accuracy.data` makes its cases (phantoms; needs the extra `ltvs`),
`python -m benchmarks.accuracy.collect` and `.tables` turn its runs into one result and docs/defaults.md, and
`python -m benchmarks.accuracy.causes` looks into the trained networks.
"""
