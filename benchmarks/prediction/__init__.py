"""Time and memory of labeling a CT, beside the same two networks' work as MONAI does it; see docs/understand/speed.md.

`python -m benchmarks.prediction --input ZIP` measures; `python -m benchmarks.prediction.tables` writes the results into
docs/understand/speed.md. `python -m benchmarks.prediction.one_run` is one of the processes that are measured.
"""
