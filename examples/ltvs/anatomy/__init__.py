"""Synthetic patients as maps of tissues, from neck to thigh, without HU. May import `volume` and `runtime`.

`patient.py` makes a patient from a seed and paints it on a canvas of any grid. It paints the parts of the body in the
order of `Patient.paint`, each over those before it. Each part has a file.
"""
