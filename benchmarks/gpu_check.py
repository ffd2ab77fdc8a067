"""Check the Triton passes on a GPU, and time them against the memory's bandwidth; then check skips and networks.

    python benchmarks/gpu_check.py --json benchmarks/results/NAME.json

Run this one command on a machine with a CUDA GPU, PyTorch, Triton, numpy, einops, jaxtyping and filelock; nothing has
to be installed. It starts nothing new after `--budget` seconds, writes the file after every row, and continues where it
ended when it is called again. A row that fails is kept with its error until a later call repeats it. The other rows
are measured all the same.

A floor is the bytes of the maps that a pass reads and writes, each once, over the bandwidth of a copy measured in the
same run. `graph` times replays of a CUDA graph: the kernels alone. `eager` times calls as a network makes them.
"""

import argparse
import itertools
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks import gpu_tiles  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from benchmarks.speed.__main__ import parts  # noqa: E402
from benchmarks.time_and_memory import bandwidth  # noqa: E402
from crossattn3d.kernels.triton import check, launch  # noqa: E402
from ltvs.runtime.files import read_json, write_json  # noqa: E402
from support import triton_cases  # noqa: E402
from support.random_maps import normal  # noqa: E402
from support.triton_cases import TRITON  # noqa: E402

#: Channels and sizes of the skips that the passes are timed at; and one whose voxels are odd in number.
PASS_SHAPES = [(32, (32, 320, 320)), (64, (16, 160, 160)), (128, (8, 80, 80))]
PARTS = ("equality", "passes", "skips", "nets", "precision", "tiles")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
ODD = (32, (31, 319, 319))
#: Maps read and written by each pass, and how often all four are timed.
MAPS = {"reduce": 2, "apply": 2, "reduce_backward": 3, "apply_backward": 5}
REPEATS = 30
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="file for the results; rows in it are not run again")
    parser.add_argument(
        "--budget", type=float, default=400, help="seconds after which no new row starts (default: 400)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to run (default: all)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() or launch.INTERPRETED:
        parser.error("expected a CUDA GPU and no TRITON_INTERPRET; found none")
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    start, device = time.monotonic(), torch.device("cuda")
    report: Row = read_json(arguments.json) if arguments.json.exists() else {"machine": machine(device), "seconds": 0}
    report.setdefault("bandwidth", bandwidth(device))
    before, left = report["seconds"], 0
    for part, key, measure in rows(device, report["bandwidth"]):
        found = report.setdefault(part, [])
        if any(key.items() <= row.items() and "failed" not in row for row in found):
            continue
        if part not in (arguments.only or [part]):
            continue
        if time.monotonic() - start > arguments.budget:
            left += 1
            continue
        began = time.monotonic()
        try:
            row = measure()
        except Exception as error:
            row = {"failed": repr(error)[-1500:]}
        torch.compiler.reset()
        torch.cuda.empty_cache()
        found[:] = [other for other in found if not key.items() <= other.items()]
        found.append(key | row | {"seconds": time.monotonic() - began})
        report["seconds"] = before + time.monotonic() - start
        write_json(arguments.json, report)
        print(part, found[-1], flush=True)
    measured_rows = [row for part in report.values() if isinstance(part, list) for row in part]
    failed = [row for row in measured_rows if "failed" in row or "missed" in row]
    print(f"{len(failed)} rows failed, {left} not run yet; {report['seconds']:.0f} s")
    return 1 if failed or left else 0


def rows(device: torch.device, rate: float) -> Iterator[tuple[str, Row, Callable[[], Row]]]:
    """Yield the part, what tells the row from others, and what measures it, the most needed first."""
    for group in triton_cases.ON_GPU:
        yield "equality", {"name": group}, lambda group=group: equality()[group]
    yield "equality", {"name": "self-check"}, lambda: self_check(device)
    of_passes = list(itertools.product((torch.bfloat16,), PASS_SHAPES, LAYOUTS))
    of_passes += [(torch.float32, PASS_SHAPES[0], "contiguous"), (torch.bfloat16, ODD, "contiguous")]
    keys = [
        {"channels": channels, "size": list(size), "dtype": str(dtype), "layout": layout}
        for dtype, (channels, size), layout in of_passes
    ]
    for key, (dtype, (channels, size), layout) in zip(keys, of_passes, strict=True):
        maps = (channels, size, dtype, layout)
        yield "passes", key, lambda maps=maps: timings(*maps, rate)
    for part, (cases, measure, _) in parts(device, rate, rounds=9, limit=4).items():
        for case in cases:
            key = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(case).items()}
            yield part, key, lambda case=case, measure=measure: measure(case)
    for key, (dtype, (channels, size), layout) in zip(keys, of_passes, strict=True):
        for table, name in gpu_tiles.PASSES.items() if dtype == torch.bfloat16 else ():
            maps = (channels, size, dtype, layout)
            yield (
                "tiles",
                key | {"table": table},
                lambda maps=maps, table=table, name=name: gpu_tiles.timings(
                    maps[0], table, calls(*maps)[name], lambda call: 1e3 * measured(call, graph=True)["median"]
                ),
            )


def self_check(device: torch.device) -> Row:
    """What `auto` finds out before it takes Triton, for each dtype and normalization."""
    pairs = itertools.product((torch.float32, torch.bfloat16, torch.float16), ("mean", "instance", "cosine"))
    maps = [torch.zeros(1, channels, 2, 2, 2, device=device) for channels in (32, 64, 128, 256)]
    found = {
        f"{len(x[0])} channels, {dtype}, {score_norm}": check.is_right_for(x.to(dtype), x.to(dtype), score_norm)  # type: ignore[arg-type]
        for (dtype, score_norm), x in itertools.product(pairs, maps)
    }
    return found if all(found.values()) else {"failed": str(found)}


@cache
def equality() -> dict[str, Row]:
    """The cases of the tests, each group in a process: compilation runs side by side, and a crash is told apart."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(ROOT / "tests" / "support" / "triton_cases.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = {
        group: subprocess.Popen([*command, group], env=os.environ | {"PYTHONPATH": paths}, **pipes)  # type: ignore[call-overload]
        for group in triton_cases.ON_GPU
    }
    try:
        ended = {group: (*process.communicate(timeout=240), process.returncode) for group, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    return {
        group: {"failed": err[-1500:]} if code else {"said": out.strip()} for group, (out, err, code) in ended.items()
    }


def measured(call: Callable[[], Any], *, graph: bool) -> dict[str, float]:
    """Median and quartiles of seconds per call."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    if graph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            call()
        call = captured.replay
        call()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(REPEATS)]
    for before, after in events:
        before.record()
        call()
        after.record()
    torch.cuda.synchronize()
    low, median, high = statistics.quantiles([a.elapsed_time(b) / 1e3 for a, b in events], n=4)
    return {"median": median, "low": low, "high": high}


def calls(channels: int, size: tuple[int, ...], dtype: torch.dtype, layout: str) -> dict[str, Callable[[], Any]]:
    """The four passes as a training step makes them with both attentions and no residual."""
    g = torch.Generator("cuda").manual_seed(1)
    last = LAYOUTS[layout]

    def feature_map() -> Tensor:
        x = torch.randn((1, channels, *size), generator=g, device="cuda")
        return x.relu_().to(dtype).contiguous(memory_format=last)

    u, e, dout = feature_map(), feature_map(), feature_map()
    n, voxels = channels + 1, math.prod(size)
    wq, wk, wv, wo = (normal(k, g=g) for k in (n, n, n, channels))
    p, bias = normal(1, channels, channels, g=g), normal(1, channels, g=g)
    o, single_maps, due = (normal(*s, g=g) for s in ((1, voxels), (1, 4, voxels), (1, n, n)))
    return {
        "reduce": lambda: TRITON.reduce(u, e, wq, wk, wv, False),
        "apply": lambda: TRITON.apply(e, p, bias, o, wo, None),
        "reduce_backward": lambda: TRITON.reduce_backward(dout, u, e, wq, wk, wv, wo),
        "apply_backward": lambda: TRITON.apply_backward(dout, u, e, p, due, None, None, single_maps, wq, wk, wv, False),
    }


def timings(channels: int, size: tuple[int, ...], dtype: torch.dtype, layout: str, rate: float) -> Row:
    """Milliseconds, the floor, and their ratio, of each pass and of forward and backward."""
    bytes_of_map = channels * math.prod(size) * dtype.itemsize
    result: Row = {}
    for name, call in calls(channels, size, dtype, layout).items():
        floor = 1e3 * MAPS[name] * bytes_of_map / rate
        row = {"floor_ms": floor}
        for way in ("graph", "eager"):
            times = measured(call, graph=way == "graph")
            row |= {f"{way}_{key}_ms": 1e3 * value for key, value in times.items()}
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = call()
        row["peak_memory_in_maps"] = (torch.cuda.max_memory_allocated() - before) / bytes_of_map
        row["over_floor"] = row["graph_median_ms"] / floor
        result[name] = row
        del kept
    for whole, names in (("forward", list(MAPS)[:2]), ("forward_and_backward", list(MAPS))):
        floor, spent = (sum(result[name][key] for name in names) for key in ("floor_ms", "graph_median_ms"))
        result[whole] = {"floor_ms": floor, "graph_median_ms": spent, "over_floor": spent / floor}
    return result


if __name__ == "__main__":
    sys.exit(main())
