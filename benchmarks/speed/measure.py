"""Time and memory of calls: in turns, so that what disturbs the machine disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median, the fastest, the slowest, and how often it was made."""

    median: float
    low: float
    high: float
    calls: int

    def json(self) -> dict[str, float]:
        """As JSON holds it."""
        return asdict(self)


def interleaved(calls: Mapping[str, Call], device: torch.device, rounds: int, limit: float = 1e9) -> dict[str, Timing]:
    """Every call in every round, twice, of which the second counts.

    The first one brings the caches and the system's memory to where they are in a loop of this call: a virtual machine
    that has handed back what another call freed seconds ago gets it again at many times the price of a page.

    Args:
        calls: by name.
        device: whose work is waited for.
        rounds: at most.
        limit: seconds, of one call, after which that one is not made any more; it is in two rounds at least.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    for done in range(rounds):
        for name, call in calls.items():
            if done > 1 and spent[name] > limit:
                continue
            before = time.perf_counter()
            for _ in range(2):
                _wait(device)
                start = time.perf_counter()
                result = call()
                _wait(device)
                last = time.perf_counter() - start
                del result
            taken[name].append(last)
            spent[name] += time.perf_counter() - before
    return {name: Timing(statistics.median(t), min(t), max(t), len(t)) for name, t in taken.items()}


def peak_extra_memory(call: Call, device: torch.device) -> int:
    """Bytes of tensors that exist at a time during a call, at most, beyond those before it and what it returns.

    What a library takes for itself, past PyTorch's allocator, is not seen.
    """
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before - _bytes_of(result)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    kineto = recorded.profiler.kineto_results  # type: ignore[union-attr]
    now = peak = 0
    for event in sorted((e for e in kineto.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak - _bytes_of(result)


def failure(*calls: Call) -> str | None:
    """Make each call once; in one line why one of them cannot be made, None if all can."""
    try:
        for call in calls:
            call()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return f"{type(error).__name__}: {first[:200]}"
    return None


def _bytes_of(result: Any) -> int:
    if isinstance(result, Tensor):
        return result.nbytes
    return sum(_bytes_of(part) for part in result) if isinstance(result, list | tuple) else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
