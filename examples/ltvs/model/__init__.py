"""The networks and what they see: stages, patch inference, the two-stage pipeline. Imports `volume` and `runtime`."""
