"""Results in the formats of viewers and hospitals: surfaces, meshes in files, DICOM segmentations.

May import `volume` and `runtime`.
"""
