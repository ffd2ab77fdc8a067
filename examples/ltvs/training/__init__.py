"""Training of one stage: settings, patches, loader, step, loop, checkpoints, validation and curves.

May import `dataset`, `sources`, `phantom`, `model`, `evaluation`, `volume` and `runtime`.
"""
