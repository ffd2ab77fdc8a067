"""Made patients as maps of tissues, from neck to thigh, without any look. May import `volume` and `runtime`.

`patient.py` decides a patient by a seed and paints it on a canvas of any grid: the parts of the body one after the
other, each over those before it, in the order of `Patient.paint`. Each part has a file.
"""
