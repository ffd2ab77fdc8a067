"""Metrics, scores of cases, and a baseline of thresholds. May import `volume` and `runtime`."""
