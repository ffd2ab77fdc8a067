"""Labeling of many CTs: it finds them in folders and zips, shares them out to processes, and records each result.

With the records, an interrupted command can continue. May import `page`, `delivery`, `measurement`, `report`, `model`,
`sources`, `volume` and `runtime`.
"""
