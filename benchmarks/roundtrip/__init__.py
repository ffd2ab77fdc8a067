"""Round trip of true labels through preparation, and what preparation costs beside bare SimpleITK calls."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the examples share is no package of its own.
sys.path.insert(0, str(ROOT / "examples"))
