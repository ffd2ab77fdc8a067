"""Patches per second: the training's loader beside MONAI's data sets, and what a training step takes in."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the examples share is no package of its own.
sys.path.insert(0, str(ROOT / "examples"))
