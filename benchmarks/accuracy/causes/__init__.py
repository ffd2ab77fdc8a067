"""Why a variant scores as it does: what its nets find and miss, what their gradients and their attention do.

`python -m benchmarks.accuracy.causes` looks at nets that `benchmarks.accuracy` trained and kept;
`python -m benchmarks.accuracy.causes.tables` writes its part of `docs/study.md` of that.
"""
