"""Reasons for a variant's scores: what its networks find and miss, and what their gradients and attention do.

`python -m benchmarks.accuracy.causes` looks into networks that `benchmarks.accuracy` trained and kept.
`python -m benchmarks.accuracy.causes.tables` writes its part of `docs/appendix/study.md`.
"""
