"""Time the gate alone on CPUs, as one call of C++ and in parts, in turns.

The command prints the medians in milliseconds, and the largest difference between the results and between the gradients
of the two ways.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks import pages
from benchmarks.speed.skips import SkipCase
from benchmarks.time_and_memory import interleaved
from crossattn3d.functional import GateParameters
from crossattn3d.kernels.backends import CPP
from crossattn3d.kernels.cpp.build import library
from crossattn3d.kernels.gate import passes

WAYS = {"one call": CPP, "in parts": CPP._replace(run_gated_pass=None)}
CASES = (
    SkipCase(32, (32, 160, 160), "float32", "contiguous"),
    SkipCase(32, (32, 160, 160), "float32", "channels_last_3d"),
    SkipCase(64, (16, 80, 80), "float32", "contiguous"),
    SkipCase(128, (8, 40, 40), "float32", "contiguous"),
)


def table(cases: Sequence[SkipCase] = CASES, rounds: int = 5) -> str:
    """Return a table of times, a case to a row."""
    cpu, rows = torch.device("cpu"), []
    for case in cases:
        u, e, dout = case.maps(cpu)
        g = torch.Generator().manual_seed(1)
        weights = (torch.randn((case.channels, case.channels), generator=g) / case.channels**0.5 for _ in range(2))
        given = u, e, dout + u, GateParameters(*weights, torch.zeros(case.channels)), True
        kinds: dict[str, Callable[..., Tensor | list[Tensor]]] = {
            "forward": lambda how, given=given: passes.forward(how, *given),
            "backward": lambda how, given=given, dout=dout: passes.gradients(how, dout, *given),
        }
        row = {"the gate alone, ms": f"1x{case.channels}x{'x'.join(map(str, case.size))}, {case.memory_format}"}
        differences = []
        for kind, call in kinds.items():
            timed = interleaved({way: partial(call, how) for way, how in WAYS.items()}, cpu, rounds)
            row |= {f"{kind}, {way}": f"{1000 * timing.median:.1f}" for way, timing in timed.items()}
            results = zip(*([*call(how)] for how in WAYS.values()), strict=True)
            differences += [float((a - b).abs().max() / b.abs().max()) for a, b in results]
        rows.append(row | {"largest difference": f"{max(differences):.0e}"})
    return pages.table_of(rows)


def main() -> None:
    """Print the table, or in one line why there is none."""
    pages.take_no_options("benchmarks.speed.gate", __doc__)
    if isinstance(reason := library(), str):
        print(f"error: the gate in one call needs C++, which cannot be used: {reason}", file=sys.stderr)
        sys.exit(2)
    print(table())


if __name__ == "__main__":
    main()
