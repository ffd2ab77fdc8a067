"""Metrics, pairs and scores of label maps, and a threshold baseline.

May import `measurement`, `volume` and `runtime`.
"""
