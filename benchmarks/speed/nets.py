"""Whole networks: forward in evaluation, and a training step, of ours and of MONAI's of about the same width."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.skips import DTYPES, FORMATS
from benchmarks.time_and_memory import Call, measured
from crossattn3d import UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm

CLASSES = 3
#: The skip that did best in the study of skips: channel-wise attention with a gate.
GATED = "UCANet, cca, gated"


@dataclass(frozen=True)
class NetCase:
    """How the networks are run: (d, h, w) of the patch, batch of one, autocast dtype, memory format, compiled."""

    size: tuple[int, int, int]
    dtype: str
    memory_format: str
    compiled: bool = False


def cases(device: torch.device) -> list[NetCase]:
    """Return both dtypes in both formats, and compiled in the faster format; half as wide on CPU."""
    side, dtypes = (320, reversed(DTYPES)) if device.type == "cuda" else (160, iter(DTYPES))
    pairs = [(dtype, form) for dtype in dtypes for form in FORMATS]
    plain = [NetCase((32, side, side), dtype, form) for dtype, form in pairs]
    return plain + [replace(case, compiled=True) for case in plain if case.memory_format == "channels_last_3d"]


def networks(device: torch.device) -> dict[str, Callable[[], nn.Module]]:
    """Return constructors by name, those of MONAI where it is installed."""
    found: dict[str, Callable[[], nn.Module]] = {
        "UNet3d": partial(UNet3d, 1, CLASSES),
        "UCANet": partial(UCANet, 1, CLASSES),
        GATED: partial(UCANet, 1, CLASSES, attention="cca", gated=True),
        "UCANet, reference": partial(UCANet, 1, CLASSES, backend="reference"),
    }
    if device.type == "cuda":
        found["UCANet, triton"] = partial(UCANet, 1, CLASSES, backend="triton")
    try:
        from monai.networks.nets import AttentionUnet, BasicUNet
    except ImportError:
        return found
    return found | {
        "MONAI BasicUNet": partial(BasicUNet, 3, 1, CLASSES, (32, 32, 64, 128, 256, 32)),
        "MONAI AttentionUnet": partial(AttentionUnet, 3, 1, CLASSES, (32, 64, 128, 256), (2, 2, 2)),
    }


def training_step(net: nn.Module, runs: Any, x: Tensor, target: Tensor, dtype: torch.dtype = torch.float32) -> Call:
    """Return a call that takes a step of Adam on the cross-entropy; `runs` is the net, or the net compiled."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)

    def step() -> None:
        net.train()
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            logits = runs(x)
        nn.functional.cross_entropy(logits.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def inference(net: nn.Module, runs: Any, x: Tensor, dtype: torch.dtype) -> Call:
    """Return a call that makes the forward pass in evaluation mode."""

    def infer() -> Tensor:
        net.eval()
        with torch.no_grad(), torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            return runs(x)  # type: ignore[no-any-return]

    return infer


def measure(case: NetCase, device: torch.device, rounds: int, limit: float) -> list[dict[str, Any]]:
    """Return a row per network: time and memory of forward and of a training step, of a folded one of forward."""
    form, dtype = FORMATS[case.memory_format], DTYPES[case.dtype]
    g = torch.Generator().manual_seed(0)
    x = torch.randn((1, 1, *case.size), generator=g).to(device).contiguous(memory_format=form)
    target = torch.randint(CLASSES, (1, *case.size), generator=g).to(device)
    calls: dict[str, dict[str, Call]] = {}
    parameters = {}
    for name, make in networks(device).items():
        torch.manual_seed(0)
        net = make().to(device, memory_format=form)  # type: ignore[call-overload]
        runs = torch.compile(net) if case.compiled else net
        calls[name] = {
            "forward": inference(net, runs, x, dtype),
            "training_step": training_step(net, runs, x, target, dtype),
        }
        parameters[name] = {"parameters": sum(p.numel() for p in net.parameters())}
        if name == "UCANet":
            folded = fold_batch_norm(net.eval())
            runs = torch.compile(folded) if case.compiled else folded
            calls["UCANet, folded"] = {"forward": inference(folded, runs, x, dtype)}
            parameters["UCANet, folded"] = {"parameters": sum(p.numel() for p in folded.parameters())}
    rows = measured(calls, device, rounds, limit)
    return [row if "not_run" in row else row | parameters[row["name"]] for row in rows]
