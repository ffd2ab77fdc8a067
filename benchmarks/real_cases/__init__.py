"""Scores of networks on a labeled cohort of real CTs: those that come with the examples, or those of a run.

`python -m benchmarks.real_cases --source SOURCE --input DIR` scores every case in turn;
docs/label/networks.md describes it.
"""
