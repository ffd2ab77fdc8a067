"""One skip connection: CSCA by each of its backends, and what people use instead."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.measure import Call, failure, interleaved, peak_extra_memory
from crossattn3d import CSCA, ConcatSkip

#: Maps of C x voxels that have to be read or written: U and E, E and O; then dO and E, U, E and dO, dU and dE.
FORWARD_MAPS, BOTH_MAPS = 4, 11
FORMATS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class SkipCase:
    """A skip's maps: width, (d, h, w), dtype and memory format; a batch of one."""

    channels: int
    size: tuple[int, int, int]
    dtype: str
    memory_format: str

    @property
    def bytes_of_map(self) -> int:
        """Of one C x voxels map."""
        return self.channels * math.prod(self.size) * DTYPES[self.dtype].itemsize

    def maps(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Decoder map, encoder map and a gradient of the result; the encoder's as after a ReLU."""
        g = torch.Generator().manual_seed(0)
        u, e, g_out = (torch.randn((1, self.channels, *self.size), generator=g) for _ in range(3))
        return tuple(  # type: ignore[return-value]
            x.to(device, DTYPES[self.dtype]).contiguous(memory_format=FORMATS[self.memory_format])
            for x in (u, e.relu_(), g_out)
        )


def cases(device: torch.device) -> list[SkipCase]:
    """The three skips of the paper's network, half as wide in-plane on CPU; the finest in every dtype and format."""
    side = 320 if device.type == "cuda" else 160
    finest = [SkipCase(32, (32, side, side), dtype, form) for dtype in DTYPES for form in FORMATS]
    coarser = [SkipCase(32 * 2**i, (32 >> i, side >> i, side >> i), "float32", "contiguous") for i in (1, 2)]
    return finest + coarser


def contenders(case: SkipCase, device: torch.device) -> dict[str, nn.Module]:
    """By name, modules `(query, context) -> map` with the weights of one seed."""

    def made(module: nn.Module) -> nn.Module:
        return module.to(device, DTYPES[case.dtype], memory_format=FORMATS[case.memory_format])  # type: ignore[call-overload]

    def csca(backend: str) -> nn.Module:
        torch.manual_seed(0)
        return made(CSCA(case.channels, residual=False, backend=backend))  # type: ignore[arg-type]

    c = case.channels
    wide, narrow = (made(nn.Conv3d(n, c, 3, padding=1)) for n in (2 * c, c))
    found: dict[str, nn.Module] = {
        "CSCA reference": csca("reference"),
        **{f"CSCA {backend}": csca(backend) for backend in fast_backends(device)},
        "CSCA reference, compiled": torch.compile(csca("reference")),
        "concatenation and convolution": Joined(ConcatSkip(c, c), wide),
        "CSCA and convolution": Joined(csca("auto"), narrow),
    }
    try:
        from monai.networks.blocks import CABlock
    except ImportError:
        pass
    else:
        # Attention of a map to itself, with depthwise convolutions: the nearest thing that MONAI has.
        found["MONAI CABlock"] = OfContext(made(CABlock(3, c, 1, bias=True)))
    return found


def fast_backends(device: torch.device) -> tuple[str, ...]:
    """What is compared with the reference, and timed."""
    return ("factorised", "triton" if device.type == "cuda" else "native")


class Joined(nn.Module):
    """A skip and the convolution after it."""

    def __init__(self, skip: nn.Module, convolution: nn.Module) -> None:
        super().__init__()
        self.skip, self.convolution = skip, convolution

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Join and convolve."""
        return self.convolution(self.skip(query, context))  # type: ignore[no-any-return]


class OfContext(nn.Module):
    """A block that looks at the encoder's map alone."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, _: Tensor, context: Tensor) -> Tensor:
        """The block of the context."""
        return self.block(context)  # type: ignore[no-any-return]


def check(case: SkipCase, device: torch.device) -> dict[str, float]:
    """Raise AssertionError unless each fast backend errs at most twice as much as the reference in the same dtype.

    Errors are root mean squares against the reference in float64, of the output and the gradients of both maps.

    Returns:
        Per backend the largest ratio of its error to what is allowed.
    """
    u, e, dout = case.maps(device)

    def results(backend: str, dtype: torch.dtype) -> list[Tensor]:
        torch.manual_seed(0)
        module = CSCA(case.channels, backend=backend).to(DTYPES[case.dtype]).to(device, dtype)  # type: ignore[arg-type]
        return [x.detach().double() for x in both(module, u.to(dtype), e.to(dtype), dout.to(dtype))[:3]]

    truth, plain = results("reference", torch.float64), results("reference", DTYPES[case.dtype])
    ratios = {}
    for backend in fast_backends(device):
        found = results(backend, DTYPES[case.dtype])
        errors = [
            (f - t).square().mean().sqrt() / (2 * (p - t).square().mean().sqrt())
            for f, p, t in zip(found, plain, truth, strict=True)
        ]
        ratios[backend] = float(torch.stack(errors).max())  # which is nan if one of them is
        if not ratios[backend] <= 1:
            raise AssertionError(f"{backend} at {case}: errs {ratios[backend]:.2f} times what is allowed")
    return ratios


def both(module: nn.Module, u: Tensor, e: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
    """Forward and backward: the result and the gradients of both maps and of every parameter, where there are any."""
    u, e = u.detach().requires_grad_(), e.detach().requires_grad_()
    out = module(u, e)
    found = torch.autograd.grad(out, (u, e, *module.parameters()), dout, allow_unused=True)
    return out, *(x for x in found if x is not None)


def measure(case: SkipCase, device: torch.device, rate: float, rounds: int, limit: float) -> list[dict[str, Any]]:
    """A row per contender: seconds and bytes of forward and of forward and backward, beside the floor."""
    u, e, dout = case.maps(device)
    forward: dict[str, Call] = {}
    whole: dict[str, Call] = {}
    failed: dict[str, str] = {}
    for name, module in contenders(case, device).items():

        def infer(module: Any = module) -> Tensor:
            with torch.no_grad():
                return module(u, e)  # type: ignore[no-any-return]

        def train(module: Any = module) -> tuple[Tensor, ...]:
            return both(module, u, e, dout)

        if reason := failure(infer, train):
            failed[name] = reason
            continue
        forward[name], whole[name] = infer, train
    times = interleaved(forward, device, rounds, limit), interleaved(whole, device, rounds, limit)
    rows: list[dict[str, Any]] = []
    for name in forward:
        row: dict[str, Any] = {"name": name}
        for kind, calls, timed, maps in (
            ("forward", forward, times[0], FORWARD_MAPS), ("forward_backward", whole, times[1], BOTH_MAPS)
        ):  # fmt: skip
            floor = maps * case.bytes_of_map / rate
            row[kind] = timed[name].json() | {
                "floor": floor,
                "over_floor": timed[name].median / floor,
                "extra_maps": peak_extra_memory(calls[name], device) / case.bytes_of_map,
            }
        rows.append(row)
    return rows + [{"name": name, "not_run": why} for name, why in failed.items()]
