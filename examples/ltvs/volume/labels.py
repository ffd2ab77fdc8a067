"""The label values of every label map this pipeline reads or writes."""

BACKGROUND = 0
LIVER = 1
VESSEL = 2
TUMOR = 3

MEANINGS = {LIVER: "liver", VESSEL: "vessel", TUMOR: "tumor"}

#: What a score table names. `liver` means the whole organ: every label above 0.
STRUCTURES = ("liver", "tumor", "vessel")

#: One color per structure in every picture, as red, green, blue in 0..1.
COLORS = {"liver": (0.78, 0.55, 0.40), "tumor": (0.95, 0.80, 0.20), "vessel": (0.20, 0.45, 0.95)}
