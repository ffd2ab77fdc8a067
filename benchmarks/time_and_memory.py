"""Time and memory of calls, made in turns so that a disturbance of the machine disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], Any]


class Timing(NamedTuple):
    """Seconds of one call: the median, the fastest and the slowest, and how often it was made."""

    median: float
    low: float
    high: float
    calls: int


def interleaved(calls: Mapping[str, Call], device: torch.device, rounds: int, limit: float = 1e9) -> dict[str, Timing]:
    """Make every call twice in every round and time the second one.

    The first one brings the caches and the system's memory to where they are in a loop of this call: a virtual machine
    that has handed back the memory another call freed seconds ago pays many times the price of a page to get it again.

    Args:
        calls: by name.
        device: the device whose work is waited for.
        rounds: at most.
        limit: seconds of one call after which it is not made any more; each call is in at least two rounds.
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


def measured(
    contenders: Mapping[str, Mapping[str, Call]], device: torch.device, rounds: int, limit: float
) -> list[dict[str, Any]]:
    """Return a row per contender: the timing and the extra bytes of each kind of call, or why it was not run.

    Args:
        contenders: calls by kind by name, the first of them with all kinds.
        device: of all calls.
        rounds: as for `interleaved`.
        limit: as for `interleaved`.
    """
    reasons = {name: _failure(calls) for name, calls in contenders.items()}
    rows: dict[str, dict[str, Any]] = {name: {"name": name} for name, reason in reasons.items() if reason is None}
    for kind in next((contenders[name] for name in rows), {}):
        calls = {name: contenders[name][kind] for name in rows if kind in contenders[name]}
        for name, timing in interleaved(calls, device, rounds, limit).items():
            rows[name][kind] = timing._asdict()
    for name, row in rows.items():
        for kind, call in contenders[name].items():
            row[kind]["extra_bytes"] = peak_extra_memory(call, device)
    return [*rows.values(), *({"name": name, "not_run": reason} for name, reason in reasons.items() if reason)]


def bandwidth(device: torch.device) -> float:
    """Return bytes read and written per second by a copy too large for any cache: the bound of a pass over the maps."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**26, device=device)
    target = torch.zeros_like(source)
    copied = interleaved({"copy": lambda: target.copy_(source)}, device, rounds=9)["copy"]
    return 2 * source.nbytes / copied.low


def peak_extra_memory(call: Call, device: torch.device) -> int:
    """Return the most bytes of tensors that exist at a time during a call, beyond those before it and its result.

    Memory that a library takes for itself, bypassing PyTorch's allocator, is not seen.
    """
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before - _bytes_of(result)
    sizes, result = allocations(call)
    return max(accumulate(sizes, initial=0)) - _bytes_of(result)


def allocations(call: Call) -> tuple[list[int], Any]:
    """Make a call on the CPU; return the bytes that it allocates (negative: frees), in order, and its result."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    kineto = recorded.profiler.kineto_results  # type: ignore[union-attr]
    events = (event for event in kineto.events() if event.name() == "[memory]")
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())], result


def _failure(calls: Mapping[str, Call]) -> str | None:
    """Make each call once; return in one line why one of them fails, None if none does."""
    try:
        for call in calls.values():
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
