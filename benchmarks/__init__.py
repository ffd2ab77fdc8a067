"""Measurements: a module or a folder with one command each, and their results as JSON in `results/`.

`speed`, `memory` and `gpu_check` measure the package. `loader`, `roundtrip` and `prediction` measure the pipeline.
`real_cases` scores networks on labeled CTs. `table1` trains and tests the ten systems of the paper's Table 1.
`accuracy` is the study behind the defaults, and `synthesis` the study of what has to vary in synthetic patients.
`notebook` runs the tutorial and stores its outputs. The tables of the docs show the results.
"""

import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
# The pipeline is not an installed package, and on a GPU machine the package need not be one either.
sys.path += [str(ROOT / "src"), str(ROOT / "examples")]


def _print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print errors as the commands of the pipeline do, such as a missing library with the extra that installs it."""
    import ltvs  # only now: it changes how the threads of PyTorch wait, and so what is measured

    ltvs.print_error(kind, error, trace)


sys.excepthook = _print_error
