"""One skip connection: CSCA by each of its backends, and the usual alternatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.time_and_memory import measured
from crossattn3d import CSCA, ConcatSkip

#: Maps of C x voxels that have to be read or written: U and E, E and O; then dO and E, U, E and dO, dU and dE.
MAPS = {"forward": 4, "forward_backward": 11}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class SkipCase:
    """The maps of a skip: width, (d, h, w), dtype and memory format; a batch of one."""

    channels: int
    size: tuple[int, int, int]
    dtype: str
    memory_format: str

    @property
    def bytes_of_map(self) -> int:
        """Size of one C x voxels map."""
        return self.channels * math.prod(self.size) * DTYPES[self.dtype].itemsize

    def maps(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return decoder map, encoder map (as after a ReLU) and a gradient of the output."""
        g = torch.Generator().manual_seed(0)
        u, e, g_out = (torch.randn((1, self.channels, *self.size), generator=g) for _ in range(3))
        return tuple(  # type: ignore[return-value]
            x.to(device, DTYPES[self.dtype]).contiguous(memory_format=FORMATS[self.memory_format])
            for x in (u, e.relu_(), g_out)
        )


def cases(device: torch.device) -> list[SkipCase]:
    """Return the three skips of the paper's network, the finest in every dtype and format; half as wide on CPU."""
    side, first = (320, "bfloat16") if device.type == "cuda" else (160, "float32")
    dtypes = sorted(DTYPES, key=lambda dtype: dtype != first)
    finest = [SkipCase(32, (32, side, side), dtype, form) for dtype in dtypes for form in FORMATS]
    coarser = [SkipCase(32 * 2**i, (32 >> i, side >> i, side >> i), first, "contiguous") for i in (1, 2)]
    return finest[:2] + coarser + finest[2:] if device.type == "cuda" else finest + coarser


def fast_backends(device: torch.device) -> tuple[str, ...]:
    """Return the backends that are compared with the reference and timed."""
    return ("torch", "triton" if device.type == "cuda" else "cpp")


def csca(channels: int, backend: str, **options: Any) -> CSCA:
    """Return a CSCA with the weights of one seed."""
    torch.manual_seed(0)
    return CSCA(channels, backend=backend, **options)  # type: ignore[arg-type]


class Joined(nn.Module):
    """A skip, or another function of both maps, and the block after it."""

    def __init__(self, skip: Callable[[Tensor, Tensor], Tensor], block: nn.Module) -> None:
        super().__init__()
        self.skip, self.block = skip, block

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Join and apply the block."""
        return self.block(self.skip(query, context))  # type: ignore[no-any-return]


def contenders(case: SkipCase, device: torch.device) -> dict[str, nn.Module]:
    """Return modules `(query, context) -> map` by name, with the weights of one seed."""

    def made(module: nn.Module) -> nn.Module:
        return module.to(device, DTYPES[case.dtype], memory_format=FORMATS[case.memory_format])  # type: ignore[call-overload]

    c = case.channels
    plain = partial(csca, c, residual=False)
    wide, narrow = (nn.Conv3d(n, c, 3, padding=1) for n in (2 * c, c))
    found: dict[str, nn.Module] = {
        "CSCA reference": made(plain("reference")),
        **{f"CSCA {backend}": made(plain(backend)) for backend in fast_backends(device)},
        "CSCA reference, compiled": torch.compile(made(plain("reference"))),
        "concatenation and convolution": made(Joined(ConcatSkip(c, c), wide)),
        "CSCA and convolution": made(Joined(plain("auto"), narrow)),
    }
    try:
        from monai.networks.blocks import CABlock
    except ImportError:
        return found
    # Attention of a map to itself, with depthwise convolutions: the nearest thing that MONAI has.
    return found | {"MONAI CABlock": made(Joined(lambda _, context: context, CABlock(3, c, 1, bias=True)))}


def output_and_gradients(module: nn.Module, u: Tensor, e: Tensor, dout: Tensor) -> tuple[Tensor, ...]:
    """Run forward and backward; return the output and the gradients of both maps and of every parameter used."""
    u, e = u.detach().requires_grad_(), e.detach().requires_grad_()
    out = module(u, e)
    found = torch.autograd.grad(out, (u, e, *module.parameters()), dout, allow_unused=True)
    return out, *(x for x in found if x is not None)


def check(case: SkipCase, device: torch.device) -> dict[str, float]:
    """Raise AssertionError unless each fast backend errs at most twice as much as the reference in the same dtype.

    Errors are root mean squares against the reference in float64, of the output and the gradients of both maps.

    Returns:
        Per backend the largest ratio of its error to the allowed one.
    """
    maps = case.maps(device)

    def results(backend: str, dtype: torch.dtype) -> list[Tensor]:
        module = csca(case.channels, backend).to(DTYPES[case.dtype]).to(device, dtype)
        return [x.detach().double() for x in output_and_gradients(module, *(x.to(dtype) for x in maps))[:3]]

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


def measure(case: SkipCase, device: torch.device, rate: float, rounds: int, limit: float) -> list[dict[str, Any]]:
    """Return a row per contender: time and memory of forward and of forward and backward, beside the floor."""
    u, e, dout = case.maps(device)

    def calls(module: nn.Module) -> dict[str, Any]:
        return {
            "forward": torch.no_grad()(partial(module, u, e)),
            "forward_backward": partial(output_and_gradients, module, u, e, dout),
        }

    modules = contenders(case, device)
    rows = measured({name: calls(module) for name, module in modules.items()}, device, rounds, limit)
    for cell, maps in ((row[kind], maps) for row in rows for kind, maps in MAPS.items() if kind in row):
        cell["floor"] = maps * case.bytes_of_map / rate
        cell["over_floor"] = cell["median"] / cell["floor"]
        cell["extra_maps"] = cell.pop("extra_bytes") / case.bytes_of_map
    return rows


def checked_and_measured(case: SkipCase, *arguments: Any) -> dict[str, Any]:
    """Check a case, then measure it with the arguments of `measure`; name a bound that is missed beside the times."""
    try:
        checked: dict[str, Any] = {"error_over_allowed": check(case, arguments[0])}
    except AssertionError as error:
        checked = {"missed": str(error)}
    return checked | {"rows": measure(case, *arguments)}
