"""Patches per second that the training's loader and MONAI's data sets deliver, and that a training step needs.

`python -m benchmarks.loader --json benchmarks/results/loader/cpu.json` measures them.
`python -m benchmarks.loader.tables` writes the results into docs/train/data.md.
"""
