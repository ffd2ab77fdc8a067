"""Commands of the documentation made small: options that are appended, and constants of benchmarks that are changed.

`python -m support.small_commands benchmarks.MODULE WORDS...` runs a benchmark whose constants are changed.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any

#: What runs a script or module of ours, or copies files.
_RUNS = re.compile(
    r"(?:\w+=\S+ )*(?:(?:python|torchrun)\b"
    r"(?:.*?\S*examples/(\w+\.py)|.*? -m (monai\.bundle|pytest|benchmarks[\w.]*))|(cp) )"
)


@dataclass(frozen=True)
class Small:
    """How a command is run in small.

    Args:
        options: appended.
        needed: options that are appended where the documentation does not give them, with their values.
        in_repository: whether it reads or writes the repository, of which it gets a copy whose pages stay as they are.
        measures: whether figures that it writes into a page depend on the machine.
        may_miss: whether it may end with 1 because a time that it measures is too long.
    """

    options: str = ""
    needed: Mapping[str, str] = field(default_factory=dict)
    in_repository: bool = False
    measures: bool = False
    may_miss: bool = False


_TO_TABLES = Small(in_repository=True)

SMALL = {
    "prepare_ltvs.py": Small(
        "--pixels 16 --slice-spacing 3 --liver-pixels 24 --liver-slice-spacing 1.5 --margin 4 --workers 1"
    ),
    "train_ltvs.py": Small(
        "--epochs 1 --batch-size 2 --patch 8 16 16 --overlap 4 0 0 --channels 2 3 4 --workers 0 --device cpu",
        {"--data": "trained/data", "--output": "runs/new"},
    ),
    "predict_ltvs.py": Small(
        "--device cpu --smallest-liver 1",
        {"--run": "trained/run", "--input": "ct.nii.gz", "--output": "new.nii.gz"},
    ),
    "evaluate_ltvs.py": Small(),
    "export_onnx.py": Small(),
    "make_bundle.py": Small(needed={"--run": "trained/run", "--output": "bundles/new"}),
    "ship_networks.py": Small(),
    "monai.bundle": Small(),
    "cp": Small(),
    "pytest": Small("--collect-only --quiet -p no:cacheprovider", in_repository=True),
    "benchmarks.accuracy": Small("--jobs 1", {"--sizes": "1"}),
    "benchmarks.accuracy.causes": Small("--seeds 0"),
    "benchmarks.accuracy.causes.tables": _TO_TABLES,
    "benchmarks.accuracy.collect": Small(),
    "benchmarks.accuracy.data.phantoms": Small("--matrix 64 --slice-spacing 12 --workers 1"),
    "benchmarks.accuracy.data.real_ct": Small(),
    "benchmarks.accuracy.power": _TO_TABLES,
    "benchmarks.accuracy.skip_tables": _TO_TABLES,
    "benchmarks.accuracy.tables": _TO_TABLES,
    "benchmarks.loader": Small(
        "--patch 8 32 40 --step-patch 8 16 24 --cases 1 2 --pixels 40 --workers 1 --rounds 1 --batches 2",
        may_miss=True,
    ),
    "benchmarks.loader.tables": _TO_TABLES,
    "benchmarks.memory": Small(in_repository=True, measures=True),
    "benchmarks.prediction": Small(),
    "benchmarks.prediction.tables": _TO_TABLES,
    "benchmarks.real_cases": Small("--device cpu --smallest-liver 1", {"--run": "trained/run"}),
    "benchmarks.roundtrip": Small("--rounds 1", may_miss=True),
    "benchmarks.roundtrip.tables": _TO_TABLES,
    "benchmarks.speed": Small(may_miss=True),
    "benchmarks.speed.gate": Small(),
    "benchmarks.speed.tables": _TO_TABLES,
    "benchmarks.table1": Small(),
    "benchmarks.table1.page": _TO_TABLES,
}


def target_of(line: str) -> str | None:
    """Return the script, module or program that a line runs; None for other tools."""
    found = _RUNS.match(line)
    return (found[1] or found[2] or found[3]) if found else None


def in_small(line: str) -> str:
    """Return a line with what makes it small; predictions are of the run that the test has trained."""
    target = target_of(line)
    assert target is not None
    small = SMALL[target]
    needed = [f" {name} {value}" for name, value in small.needed.items() if f"{name} " not in line]
    options = "".join([small.options, *needed])
    options += " --smallest-liver 1" if "--liver-from" in line else ""
    options += " --smallest_liver 1" if "monai.bundle run" in line else ""
    options += " --maps 1" if "--maps" in line else ""
    options += " --count 3 --validation 1 --test 1 --matrix 64 --ct-slice-spacing 12" if "phantom " in line else ""
    options = options.replace("--channels 2 3 4", "") if "--network vnet" in line else options  # which it has not
    options += " --rounds 1" if target == "benchmarks.speed" and "--check" not in line else ""
    options += " --norm batch" if "--init" in line else ""  # as the run that the test has trained
    if target in CHANGED:
        line = line.replace(f"-m {target}", f"-m support.small_commands {target}")
    return f"{line} {options}"


def _accuracy() -> None:
    """One run of the tiny task."""
    command = import_module("benchmarks.accuracy.__main__")
    _tiny_tasks(command.TASKS)
    order = command._order
    command._order = lambda *given: islice(order(*given), 1)


def _causes() -> None:
    """The two networks that the world has."""
    command = import_module("benchmarks.accuracy.causes.__main__")
    _tiny_tasks(command.TASKS)
    study = command.study
    command.study = lambda cases, runs, wanted, *others: study(cases, runs, wanted[:2], *others)


def _phantoms() -> None:
    """One to train on, one to test on."""
    phantoms = import_module("benchmarks.accuracy.data.phantoms")
    phantoms.PLAIN_TRAINING = phantoms.PLAIN_TEST = 1


def _tiny_tasks(tasks: dict[str, Any]) -> None:
    from support.study_cases import TINY

    tasks |= dict.fromkeys(tasks, TINY)


def _memory() -> None:
    memory = import_module("benchmarks.memory")
    memory.bytes_per_voxel = partial(memory.bytes_per_voxel, size=(8, 16, 16))


def _prediction() -> None:
    """Small networks on small grids; long CTs of fewer slices, and with networks that find the tiny liver in them."""
    from support.small_prediction import SMALL as SIZE

    command, measure = (import_module(f"benchmarks.prediction.{name}") for name in ("__main__", "measure"))
    command.Size = lambda: SIZE
    command.long_cts = partial(command.long_cts, slices=(30, 60))
    peak_and_output = measure.peak_and_output
    run = ["--run", "trained/run", "--smallest-liver", "1"]
    measure.peak_and_output = lambda script, words: peak_and_output(
        script, [*words, *(run if script == "predict_ltvs.py" else [])]
    )


def _speed() -> None:
    """One skip, one size of networks, in the same process."""
    bounds, nets, precision, skips = (
        import_module(f"benchmarks.speed.{name}") for name in ("bounds", "nets", "precision", "skips")
    )
    skip = skips.SkipCase(4, (8, 8, 16), "float32", "contiguous")
    skips.cases = lambda device: [skip]
    nets.cases = lambda device: [nets.NetCase((16, 16, 32), "float32", "contiguous")]
    precision.cases = partial(precision.cases, (4, 8, 8))
    bounds.skip_floors = lambda device: {skip: (9.0, 9.0)}
    bounds.dtype_bounds = partial(bounds.dtype_bounds, channels=4, size=(8, 8, 16), rounds=1)
    bounds.step_bounds = partial(bounds.step_bounds, size=(16, 16, 32), rounds=1)
    bounds.in_a_process = lambda measure, environment: measure()


def _gate() -> None:
    gate = import_module("benchmarks.speed.gate")
    gate.table = partial(gate.table, [gate.SkipCase(4, (8, 8, 16), "float32", "contiguous")], rounds=1)


#: What changes the constants of a benchmark that options do not reach.
CHANGED: dict[str, Callable[[], None]] = {
    "benchmarks.accuracy": _accuracy,
    "benchmarks.accuracy.causes": _causes,
    "benchmarks.accuracy.data.phantoms": _phantoms,
    "benchmarks.memory": _memory,
    "benchmarks.prediction": _prediction,
    "benchmarks.speed": _speed,
    "benchmarks.speed.gate": _gate,
}


def main() -> int | None:
    name = sys.argv.pop(1)
    CHANGED[name]()
    module = import_module(name)
    return (module if hasattr(module, "main") else import_module(f"{name}.__main__")).main()


if __name__ == "__main__":
    sys.exit(main())
