"""How fast the attention and the networks are: `python -m benchmarks.speed --device cpu|cuda [--json OUT]`."""
