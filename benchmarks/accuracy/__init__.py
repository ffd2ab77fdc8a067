"""Which skip connection segments best: variants trained on the same cases, in the same order, at the same cost.

`python -m benchmarks.accuracy.data` makes the cases (phantoms; needs the extra `ltvs`), `python -m benchmarks.accuracy`
trains and tests variants on them (needs torch, numpy, scipy, einops, jaxtyping and MONAI, nothing else), and
`python -m benchmarks.accuracy.collect` and `.tables` make one result and the page `docs/defaults.md` of it;
`python -m benchmarks.accuracy.causes` says why trained nets score as they do.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "src"), str(ROOT / "examples")]
