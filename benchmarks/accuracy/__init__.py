"""The study behind the defaults: skip connections trained on the same cases, in the same order, at the same cost.

`python -m benchmarks.accuracy` trains and tests variants. It needs torch, numpy, scipy, scikit-image, einops,
jaxtyping, MONAI, lightning-fabric and safetensors, but none of the libraries that read medical images.

The commands of `benchmarks.accuracy.data` make its cases and need the extra `ltvs`. `.collect` turns runs into one
result. `.skip_tables` and `.tables` write results into docs/understand/choices.md and docs/appendix/study.md. `.power`
says how small a difference the study can detect. `python -m benchmarks.accuracy.causes` looks into the trained
networks.
"""
