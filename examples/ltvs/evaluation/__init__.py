"""Metrics, pairs and scores of label maps, and a threshold baseline. May import `volume` and `runtime`."""
