"""Pictures of a labeled CT, and tables over several seeds.

May import `training`, `dataset`, `sources`, `phantom`, `model`, `evaluation`, `volume` and `runtime`.
"""
