"""Time and memory of labeling a CT, by this pipeline and by MONAI with the same two networks.

`python -m benchmarks.prediction --input ZIP` measures them, in processes of `python -m benchmarks.prediction.one_run`.
`python -m benchmarks.prediction.tables` writes the results into docs/understand/speed.md.
"""
