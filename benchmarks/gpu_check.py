"""Triton passes on a real GPU: first that they are right, then how far they are from the memory's bandwidth.

    python benchmarks/gpu_check.py --json gpu_check.json

One command of at most 8 minutes on a machine with a CUDA GPU, PyTorch, Triton, einops and jaxtyping; nothing has to
be installed. No figure of it exists yet: when it was written there was no GPU, and it had not been run on one. The
kernels had been compared with the same formulas in Triton's interpreter, and compiled for compute capability 9.0.

A floor is the bytes of the maps that a pass reads and writes, each once, over the bandwidth of a copy measured in
the same run. `graph` times replays of a CUDA graph, the kernels alone; `eager` times calls as a network makes them.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402
import triton  # noqa: E402
from torch import Tensor  # noqa: E402

from crossattn3d.kernels.triton import launch  # noqa: E402
from support import triton_cases  # noqa: E402
from support.triton_cases import TRITON  # noqa: E402

PAPER = (32, 320, 320)
#: Maps read and written by each pass, and how often all four are timed.
MAPS = {"reduce": 2, "apply": 2, "reduce_backward": 3, "apply_backward": 5}
REPEATS = 30
#: Seconds after which nothing new is started.
BUDGET = 400.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the results")
    out = parser.parse_args().json
    start = time.monotonic()
    if not torch.cuda.is_available() or launch.INTERPRETED:
        sys.exit("gpu_check: expected a CUDA GPU and no TRITON_INTERPRET; found none")
    report: dict[str, Any] = {"machine": machine(), "failures": []}
    checks = [*equality_groups(report), *equality_at_size(report)]
    if not report["failures"]:
        # No timing of what is wrong.
        report["bandwidth_gb_s"] = bandwidth() / 1e9
        report["timings"] = [
            timings(channels, size, dtype, layout, report["bandwidth_gb_s"])
            for channels, size, dtype, layout in (
                (32, PAPER, torch.bfloat16, "contiguous"),
                (32, PAPER, torch.bfloat16, "channels_last"),
                (32, PAPER, torch.float32, "contiguous"),
                (64, (16, 160, 160), torch.bfloat16, "contiguous"),
                (128, (8, 80, 80), torch.bfloat16, "contiguous"),
            )
            if time.monotonic() - start < BUDGET
        ]
        report["tuning"] = tuning(start)
    report["seconds"] = time.monotonic() - start
    if out:
        out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    print(f"{len(checks)} checks, {len(report['failures'])} failed, {report['seconds']:.0f} s")
    sys.exit(1 if report["failures"] else 0)


def machine() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "commit": commit.stdout.strip() or None,
    }


def equality_groups(report: dict[str, Any]) -> list[str]:
    """The cases of the tests, each group in a process: compilation runs side by side, and a crash is told apart."""

    def run(group: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        command = [sys.executable, str(ROOT / "tests" / "support" / "triton_cases.py"), group]
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths}
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(command, 1, "", "not done after 240 s")
        return group, done

    with ThreadPoolExecutor(len(triton_cases.GROUPS)) as pool:
        for group, done in pool.map(run, triton_cases.GROUPS):
            print(done.stdout.strip() if done.returncode == 0 else f"{group}: FAILED", flush=True)
            if done.returncode != 0:
                report["failures"].append({"what": group, "error": done.stderr[-1500:]})
    return list(triton_cases.GROUPS)


def equality_at_size(report: dict[str, Any]) -> list[str]:
    """Every pass at the sizes of the paper's network; the errors in units of what is allowed."""
    checks = []
    for channels, size, dtype, formats in (
        (32, PAPER, torch.bfloat16, ("contiguous", "channels_last")),
        (32, PAPER, torch.float16, ("channels_last", "contiguous")),
        (32, (32, 160, 160), torch.float32, ("contiguous", "contiguous")),
        (64, (16, 160, 160), torch.bfloat16, ("contiguous", "contiguous")),
        (128, (8, 80, 80), torch.bfloat16, ("channels_last", "channels_last")),
        (320, (4, 20, 20), torch.bfloat16, ("contiguous", "contiguous")),
    ):
        case = triton_cases.Case(channels, channels, size, dtype, *formats, batch=1)
        for name in triton_cases.PASSES:
            checks.append(f"{name} of {case}")
            try:
                used = triton_cases.run_case(name, case, 0, 7, "cuda")
                print(checks[-1], {k: round(v, 2) for k, v in used.items()}, flush=True)
            except Exception as error:
                report["failures"].append({"what": checks[-1], "error": repr(error)[-1500:]})
                print(checks[-1], "FAILED", flush=True)
            torch.cuda.empty_cache()
    checks.append("3 x 320 channels at the paper's size")
    try:
        beyond_int32()
    except Exception as error:
        report["failures"].append({"what": checks[-1], "error": repr(error)[-1500:]})
    return checks


def beyond_int32() -> None:
    """Three samples of 320 channels, 3.1e9 elements a map: the last sample comes out as it does alone."""
    g = torch.Generator("cuda").manual_seed(3)
    e = torch.randn((3, 320, *PAPER), generator=g, device="cuda", dtype=torch.bfloat16)
    p, bias = triton_cases.normal(3, 320, 320, g=g) / 18, triton_cases.normal(3, 320, g=g)
    many, one = (TRITON.apply(x, p[-n:], bias[-n:], None, None, x) for x, n in ((e, 3), (e[2:].clone(), 1)))
    torch.testing.assert_close(many[2:], one, rtol=0, atol=0)
    end = slice(-4096, None)
    truth = p[2].double() @ e[2].flatten(1)[:, end].double() + bias[2, :, None] + e[2].flatten(1)[:, end]
    error = triton_cases.rms(one[0].flatten(1)[:, end].double() - truth)
    assert error <= 2 * triton_cases.rms(truth.bfloat16().double() - truth), error
    del many, one
    grams = (TRITON.reduce(x, x, None, None, None, False)[0] for x in (e, e[2:].clone()))
    many_gram, one_gram = (triton_cases.known(gram)[-1] for gram in grams)
    torch.testing.assert_close(many_gram, one_gram, rtol=1e-4, atol=1e-4 * math.prod(PAPER))


def bandwidth() -> float:
    """Bytes read and written per second by a copy of 4 GiB."""
    source = torch.randn(2**30, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / measured(lambda: target.copy_(source), graph=False)["median"]


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
    last = torch.channels_last_3d if layout == "channels_last" else torch.contiguous_format

    def feature_map() -> Tensor:
        x = torch.randn((1, channels, *size), generator=g, device="cuda")
        return x.relu_().to(dtype).contiguous(memory_format=last)

    u, e, dout = feature_map(), feature_map(), feature_map()
    n, voxels = channels + 1, math.prod(size)
    wq, wk, wv, wo = (triton_cases.normal(k, g=g) for k in (n, n, n, channels))
    p, bias = triton_cases.normal(1, channels, channels, g=g), triton_cases.normal(1, channels, g=g)
    o, single_maps, due = (triton_cases.normal(*s, g=g) for s in ((1, voxels), (1, 4, voxels), (1, n, n)))
    return {
        "reduce": lambda: TRITON.reduce(u, e, wq, wk, wv, False),
        "apply": lambda: TRITON.apply(e, p, bias, o, wo, None),
        "reduce_backward": lambda: TRITON.reduce_backward(dout, u, e, wq, wk, wv, wo),
        "apply_backward": lambda: TRITON.apply_backward(dout, u, e, p, due, None, None, single_maps, wq, wk, wv, False),
    }


def timings(channels: int, size: tuple[int, ...], dtype: torch.dtype, layout: str, gb_s: float) -> dict[str, Any]:
    """Milliseconds, the floor, and their ratio, of each pass and of forward and backward."""
    bytes_of_map = channels * math.prod(size) * dtype.itemsize
    result: dict[str, Any] = {"channels": channels, "size": size, "dtype": str(dtype), "layout": layout}
    passes = calls(channels, size, dtype, layout)
    for name, call in passes.items():
        floor = MAPS[name] * bytes_of_map / gb_s / 1e6
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
    for whole, parts in (("forward", list(MAPS)[:2]), ("forward_and_backward", list(MAPS))):
        floor, spent = (sum(result[name][key] for name in parts) for key in ("floor_ms", "graph_median_ms"))
        result[whole] = {"floor_ms": floor, "graph_median_ms": spent, "over_floor": spent / floor}
    print(channels, size, dtype, layout, {k: round(result[k]["over_floor"], 2) for k in (*MAPS, "forward")}, flush=True)
    return result


def tuning(start: float) -> list[dict[str, Any]]:
    """The passes at the paper's size with other numbers of programs, of voxels and of warps, while time is left."""
    rows = []
    passes = calls(32, PAPER, torch.bfloat16, "contiguous")
    chosen, tile = launch.PROGRAMS, launch._tile
    for programs, voxels, warps in (
        *((programs, 64, 4) for programs in (2, 4, 8, 16, 32)),
        (chosen, 128, 4),
        (chosen, 128, 8),
        (chosen, 256, 8),
        (chosen, 32, 4),
    ):
        if time.monotonic() - start > BUDGET:
            break
        launch.PROGRAMS, launch._tile = programs, lambda *_, v=voxels, w=warps: (v, w)
        row: dict[str, Any] = {"programs": programs, "voxels": voxels, "warps": warps}
        for name, call in passes.items():
            try:
                row[name] = 1e3 * measured(call, graph=True)["median"]
            except Exception as error:
                row[name] = repr(error)[:200]
        rows.append(row)
        print(row, flush=True)
    launch.PROGRAMS, launch._tile = chosen, tile
    return rows


if __name__ == "__main__":
    main()
