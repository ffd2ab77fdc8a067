"""Labeling of many CTs: found in folders and zips, shared out to processes, each on record, so that it can go on.

May import `page`, `delivery`, `measurement`, `report`, `model`, `sources`, `volume` and `runtime`.
"""
