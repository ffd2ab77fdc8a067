"""Speed of the attention and the networks: `python -m benchmarks.speed --device cpu|cuda [--json OUT]`.

`python -m benchmarks.speed.tables` writes docs/appendix/times.md.
"""
