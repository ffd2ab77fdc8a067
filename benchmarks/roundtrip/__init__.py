"""Labels that were prepared and restored, compared with the true ones, and the cost of preparation.

`python -m benchmarks.roundtrip --input ZIP` measures both, next to plain SimpleITK calls.
`python -m benchmarks.roundtrip.tables` writes the results into docs/train/prepare.md.
"""
