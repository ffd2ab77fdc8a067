"""Whole networks: forward in evaluation, and a training step, of ours and of MONAI's of about the same width."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.measure import Call, failure, interleaved, peak_extra_memory
from benchmarks.speed.skips import DTYPES, FORMATS
from crossattn3d import UCANet, UNet3d

CLASSES = 3


@dataclass(frozen=True)
class NetCase:
    """How the networks are run: (d, h, w) of the patch, batch of one, autocast dtype, memory format, compiled."""

    size: tuple[int, int, int]
    dtype: str
    memory_format: str
    compiled: bool = False


def cases(device: torch.device) -> list[NetCase]:
    """Both dtypes and formats; compiled in the faster format."""
    side = 320 if device.type == "cuda" else 160
    plain = [NetCase((32, side, side), dtype, form) for dtype in DTYPES for form in FORMATS]
    return plain + [NetCase((32, side, side), dtype, "channels_last_3d", compiled=True) for dtype in DTYPES]


def networks(device: torch.device) -> dict[str, Callable[[], nn.Module]]:
    """By name; those of MONAI where it is installed."""
    found: dict[str, Callable[[], nn.Module]] = {
        "UNet3d": lambda: UNet3d(1, CLASSES),
        "UCANet": lambda: UCANet(1, CLASSES),
        "UCANet, reference": lambda: UCANet(1, CLASSES, backend="reference"),
    }
    if device.type == "cuda":
        found["UCANet, triton"] = lambda: UCANet(1, CLASSES, backend="triton")
    try:
        from monai.networks.nets import AttentionUnet, BasicUNet
    except ImportError:
        return found
    return found | {
        "MONAI BasicUNet": lambda: BasicUNet(3, 1, CLASSES, (32, 32, 64, 128, 256, 32)),
        "MONAI AttentionUnet": lambda: AttentionUnet(3, 1, CLASSES, (32, 64, 128, 256), (2, 2, 2)),
    }


def measure(case: NetCase, device: torch.device, rounds: int, limit: float) -> list[dict[str, Any]]:
    """A row per network: seconds and bytes of forward and of a training step."""
    form, dtype = FORMATS[case.memory_format], DTYPES[case.dtype]
    g = torch.Generator().manual_seed(0)
    x = torch.randn((1, 1, *case.size), generator=g).to(device).contiguous(memory_format=form)
    target = torch.randint(CLASSES, (1, *case.size), generator=g).to(device)
    forward: dict[str, Call] = {}
    steps: dict[str, Call] = {}
    parameters, failed = {}, {}
    for name, make in networks(device).items():
        torch.manual_seed(0)
        net = make().to(device, memory_format=form)  # type: ignore[call-overload]
        runs = torch.compile(net) if case.compiled else net
        optimizer = torch.optim.Adam(net.parameters(), 1e-4)

        def infer(net: nn.Module = net, runs: Any = runs) -> Tensor:
            net.eval()
            with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return runs(x)  # type: ignore[no-any-return]

        def step(net: nn.Module = net, runs: Any = runs, optimizer: Any = optimizer) -> None:
            net.train()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = runs(x)
            nn.functional.cross_entropy(logits.float(), target).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        if reason := failure(infer, step):
            failed[name] = reason
            continue
        forward[name], steps[name] = infer, step
        parameters[name] = sum(p.numel() for p in net.parameters())
    times = interleaved(forward, device, rounds, limit), interleaved(steps, device, rounds, limit)
    rows: list[dict[str, Any]] = [
        {"name": name, "parameters": parameters[name]}
        | {
            kind: timed[name].json() | {"extra_bytes": peak_extra_memory(calls[name], device)}
            for kind, calls, timed in (("forward", forward, times[0]), ("training_step", steps, times[1]))
        }
        for name in forward
    ]
    return rows + [{"name": name, "not_run": why} for name, why in failed.items()]
