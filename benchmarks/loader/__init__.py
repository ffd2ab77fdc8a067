"""Patches per second of the training's loader and MONAI's data sets, beside the demand of a training step.

`python -m benchmarks.loader --json benchmarks/results/loader/cpu.json` measures; `python -m benchmarks.loader.tables`
writes the results into docs/train/data.md.
"""
