"""Prepared cases on disk: layout, preparing, provenance, checks, splits and export to nnU-Net.

May import `sources`, `phantom`, `model`, `evaluation`, `volume` and `runtime`.
"""
