"""Round trip of true labels through preparation, and the cost of preparation beside plain SimpleITK calls.

`python -m benchmarks.roundtrip --input ZIP` measures; `python -m benchmarks.roundtrip.tables` writes the results into
docs/train/prepare.md.
"""
