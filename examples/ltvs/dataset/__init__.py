"""Prepared cases on disk: layout, preparing, provenance, checks, splits, export to nnU-Net.

Imports `sources`, `model`, `volume` and `runtime`.
"""
