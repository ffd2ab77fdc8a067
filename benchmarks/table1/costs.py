"""The costs of a system, each measured in a process of its own."""

import json
from pathlib import Path
from typing import Any

from benchmarks.child_process import peak_and_output
from benchmarks.table1.budgets import Run
from benchmarks.table1.cases import HeldOut
from benchmarks.table1.provenance import made_with
from ltvs.runtime.files import read_json, write_json


def costs_file(network: str, output: Path) -> Path:
    """Return the path of the costs of a system, which exists once they are measured; removed, they are again."""
    return output / "costs" / f"{network}.json"


def measured(run: Run, size: str, case: HeldOut, output: Path) -> dict[str, Any]:
    """Return the costs of a system, measured now or before.

    Args:
        run: of it, trained.
        size: name of the budget.
        case: a CT to label.
        output: folder of the study.

    Returns:
        `parameters`; `flops` of a patch, forward; `step_seconds` and `step_bytes` of a training step; `ct_seconds` and
        `ct_bytes` of stage 2 on a CT whose liver is known; and `made_with`. Bytes are the most that the process held,
        on a GPU the most that tensors took.
    """
    file = costs_file(run.network, output)
    if not file.is_file():
        step = _in_child("step", size, run.network)
        ct = _in_child("ct", *map(str, (output / run.name, case.ct, case.liver)))
        write_json(file, {**step, **ct, "made_with": made_with()})
    return dict(read_json(file))


def _in_child(kind: str, *words: str) -> dict[str, Any]:
    peak, printed = peak_and_output(
        f"benchmarks.table1.one_cost {kind}", ["-m", "benchmarks.table1.one_cost", kind, *words]
    )
    return {f"{kind}_bytes": peak, **json.loads(printed.splitlines()[-1])}
