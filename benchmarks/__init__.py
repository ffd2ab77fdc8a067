"""Measurements, one command each; results as JSON in `results/`, from which the tables in the docs are made."""
