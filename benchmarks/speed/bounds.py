"""Bounds of time that hold on any machine of a kind: `python -m benchmarks.speed --device cpu --check`.

They are ratios and multiples of floors, from calls made in turns. Times alone would say more about the machine. A floor
is the time that moving the maps which a call reads and writes takes at the bandwidth of a copy.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.speed.nets import CLASSES, GATED, NetCase, networks, training_step
from benchmarks.speed.skips import DTYPES, FORMATS, MAPS, SkipCase, csca, output_and_gradients
from benchmarks.time_and_memory import Call, bandwidth, interleaved

#: glibc keeps freed memory: what getting it again from the system takes says nothing about a pass.
KEPT = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"}
KINDS = ("forward", "forward_backward")


class Bound(NamedTuple):
    """What was measured and the most that it may be."""

    what: str
    measured: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether it is no more; nan is more."""
        return self.measured <= self.most


def skip_floors(device: torch.device) -> dict[SkipCase, tuple[float, float]]:
    """Return the most floors that forward, and forward and backward, may take."""
    if device.type == "cuda":
        return {SkipCase(32, (32, 320, 320), "bfloat16", "contiguous"): (1.5, 1.7)}
    return {
        SkipCase(32, (32, 160, 160), "float32", "contiguous"): (2.6, 3.0),
        SkipCase(64, (16, 80, 80), "float32", "contiguous"): (3.8, 4.5),
        SkipCase(128, (8, 40, 40), "float32", "contiguous"): (7.0, 8.0),
    }


def step_ratios(device: torch.device) -> dict[tuple[str, str], float]:
    """Return the most that a net's training step may take of another one's."""
    gated = {(GATED, "UNet3d"): 0.9}
    if device.type == "cuda":
        return {("UCANet", "UNet3d"): 0.9} | gated
    return {("UCANet", "UNet3d"): 0.85, ("UCANet", "MONAI BasicUNet"): 1.0} | gated


def skip_bounds(device: torch.device, floors: Mapping[SkipCase, tuple[float, float]], rounds: int = 15) -> list[Bound]:
    """Measure CSCA, without the decoder map added, in floors."""
    rate, found = bandwidth(device), []
    for case, most in floors.items():
        timed = interleaved(_calls(case, device), device, rounds)
        for kind, limit in zip(KINDS, most, strict=True):
            floor = MAPS[kind] * case.bytes_of_map / rate
            found.append(Bound(f"CSCA at {_title(case)}, {kind}, in floors", timed[kind].median / floor, limit))
    return found


def dtype_bounds(
    device: torch.device, channels: int = 32, size: tuple[int, int, int] = (32, 160, 160), rounds: int = 9
) -> list[Bound]:
    """Measure CSCA in bfloat16 over float32."""
    found = []
    for form in FORMATS:
        cases = {dtype: SkipCase(channels, size, dtype, form) for dtype in DTYPES}
        calls = {
            f"{dtype} {kind}": call for dtype, case in cases.items() for kind, call in _calls(case, device).items()
        }
        timed = interleaved(calls, device, rounds)
        for kind in KINDS:
            ratio = timed[f"bfloat16 {kind}"].median / timed[f"float32 {kind}"].median
            found.append(Bound(f"CSCA at {_title(cases['bfloat16'])}, {kind}, over float32", ratio, 1.0))
    return found


def step_bounds(
    device: torch.device,
    most: Mapping[tuple[str, str], float],
    size: tuple[int, int, int] | None = None,
    rounds: int = 2,
) -> list[Bound]:
    """Measure the training step of nets over that of others; one that is not installed misses its bound."""
    side = 320 if device.type == "cuda" else 160
    found = []
    for form in FORMATS:
        case = NetCase(size or (32, side, side), "bfloat16" if device.type == "cuda" else "float32", form)
        timed = interleaved(_steps(case, [name for pair in most for name in pair], device), device, rounds)
        for (name, other), limit in most.items():
            ratio = timed[name].median / timed[other].median if other in timed else float("nan")
            against = other if other in timed else f"{other} (not installed)"
            found.append(
                Bound(f"step of {name} at {'x'.join(map(str, case.size))}, {form}, over {against}", ratio, limit)
            )
    return found


def check(device: torch.device) -> int:
    """Print each bound beside what was measured; return 1 if one is missed."""
    parts: list[tuple[Callable[[], list[Bound]], Mapping[str, str]]] = [
        (partial(skip_bounds, device, skip_floors(device)), KEPT if device.type == "cpu" else {}),
        (partial(dtype_bounds, device), KEPT if device.type == "cpu" else {}),
        (partial(step_bounds, device, step_ratios(device)), {}),
    ]
    missed = 0
    for measure, environment in parts:
        for bound in in_a_process(measure, environment):
            missed += not bound.holds
            print(f"{'holds ' if bound.holds else 'MISSED'} {bound.measured:6.2f} <= {bound.most:4.2f}  {bound.what}")
    print(f"{missed} bounds missed")
    return 1 if missed else 0


def in_a_process(measure: Callable[[], list[Bound]], environment: Mapping[str, str]) -> list[Bound]:
    """Return what a new process measures with variables added to its environment."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _calls(case: SkipCase, device: torch.device) -> dict[str, Call]:
    u, e, dout = case.maps(device)
    module = csca(case.channels, "auto", residual=False)
    module = module.to(device, DTYPES[case.dtype], memory_format=FORMATS[case.memory_format])
    return {
        "forward": torch.no_grad()(partial(module, u, e)),
        "forward_backward": partial(output_and_gradients, module, u, e, dout),
    }


def _steps(case: NetCase, names: list[str], device: torch.device) -> dict[str, Call]:
    form, g = FORMATS[case.memory_format], torch.Generator().manual_seed(0)
    x = torch.randn((1, 1, *case.size), generator=g).to(device).contiguous(memory_format=form)
    target = torch.randint(CLASSES, (1, *case.size), generator=g).to(device)
    made = {name: make() for name, make in networks(device).items() if name in names}
    nets: dict[str, Any] = {name: net.to(device, memory_format=form) for name, net in made.items()}  # type: ignore[call-overload]
    return {name: training_step(net, net, x, target, DTYPES[case.dtype]) for name, net in nets.items()}


def _title(case: SkipCase) -> str:
    return f"1x{case.channels}x{'x'.join(map(str, case.size))}, {case.dtype}, {case.memory_format}"
