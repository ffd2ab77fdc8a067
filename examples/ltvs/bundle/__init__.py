"""A run as a MONAI bundle.

May import `training`, `dataset`, `sources`, `phantom`, `model`, `evaluation`, `volume` and `runtime`.
"""
