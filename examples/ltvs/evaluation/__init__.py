"""Metrics, scores per case and their tables, the baseline of thresholds. Imports `volume` and `runtime`."""
