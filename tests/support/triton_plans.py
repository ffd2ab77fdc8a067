"""What the Triton backend launches and reads, on maps without memory, and when `auto` takes it; see test_triton.py.

TRITON_INTERPRET=1 python tests/support/triton_plans.py GROUP...
"""

import logging
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from crossattn3d import CSCA
from crossattn3d.kernels import torch_pass
from crossattn3d.kernels.backends import implementation
from crossattn3d.kernels.derivative import Implementation, backward, forward
from crossattn3d.kernels.parameters import SCORE_NORMS
from crossattn3d.kernels.triton import check, launch, run, softmax
from support.calls import Calls
from support.interpreter import patch_language_once


class Recorder:
    """Takes the place of a kernel and keeps the arguments of its launches by name."""

    def __init__(self, kernel: Any, launches: list[tuple[str, dict[str, Any]]]) -> None:
        self.names, self.name, self.launches = kernel.arg_names, kernel.fn.__name__, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launched(*args: Any, **options: Any) -> None:
            self.launches.append((self.name, dict(zip(self.names, args, strict=False)) | options | {"grid": grid}))

        return launched


def passes(channels: int, dtype: torch.dtype, **options: Any) -> tuple[list[Any], list[Any]]:
    """Calls and launches of both passes of an attention at 1 x channels x 16 x 80 x 80."""
    module = CSCA(channels, **options).to("meta")
    x = torch.empty(1, channels, 16, 80, 80, dtype=dtype, device="meta")
    given = module.channel.parameters_of_attention(), module.slices.parameters_of_attention(), module.attention
    launches: list[tuple[str, dict[str, Any]]] = []
    found: list[Any] = []
    kernels = SimpleNamespace(
        **{name: Recorder(getattr(launch.kernels, name), launches) for name in ("moments", "mix")}
    )
    small = {name: Recorder(getattr(softmax, name), launches) for name in ("forward", "backward")}
    with mock.patch.object(launch, "kernels", kernels), mock.patch.multiple(softmax, **small), torch.no_grad():
        with Calls() as calls:
            out, sums = forward(run.TRITON, x, x, given)
        found.append((calls.computing, list(launches)))
        launches.clear()
        with Calls() as calls:
            backward(run.TRITON, out, x, x, given, sums)
        found.append((calls.computing, list(launches)))
    return found[0], found[1]


def others(found: tuple[int, list[tuple[str, dict[str, Any]]]]) -> int:
    """Launches beside those of the two kernels that read the maps."""
    computing, launches = found
    return computing + sum(name not in ("moments", "mix") for name, _ in launches)


def check_launches() -> str:
    """In half precision at most 12 others forward and 25 backward: a lone call is not to wait for the processor."""
    counts = [
        list(map(others, passes(32, torch.bfloat16, score_norm=norm))) for norm in SCORE_NORMS if norm != "cosine"
    ]
    assert all(3 < of_forward <= 12 and 10 < of_backward <= 25 for of_forward, of_backward in counts), counts
    return str(counts)


def maps_moved(launches: Sequence[tuple[str, dict[str, Any]]]) -> float:
    """Maps that programs read and write, counted again for each block of other channels."""
    moved = 0
    for name, args in launches:
        ceil = lambda n, block: -(-n // block)  # noqa: E731
        if name == "moments":
            a, b = ceil(args["CA"], args["BA"]), ceil(args["CB"], args["BB"])
            moved += b + (0 if args["b"] is None else a)
        elif name == "mix":
            sources = sum(args[f"p{i}"] is not None for i in range(3))
            moved += sources * ceil(args["C"], args["BM"]) + (args["residual"] is not None) + 1
    return moved


def check_traffic() -> str:
    """Up to 128 channels in half precision, at most 5 maps move forward and 11 backward; at least 4 and 7 have to."""
    counts = []
    for channels in (32, 64, 96, 128):
        moved = [maps_moved(launches) for _, launches in passes(channels, torch.bfloat16)]
        assert 4 <= moved[0] <= 5, (channels, moved)
        assert 7 <= moved[1] <= 11, (channels, moved)
        counts.append(moved)
    return str(counts)


def check_auto() -> str:
    """`auto` on a GPU takes Triton once its results on such maps are right; a failure means PyTorch, and is said."""
    for (cu, ce), dtype, score_norm in (
        ((19, 5), torch.float32, "sqrt"),
        ((70, 40), torch.bfloat16, "instance"),
        ((130, 66), torch.float16, "cosine"),
        ((5, 130), torch.bfloat16, "mean"),
    ):
        u, e = (torch.zeros(1, n, 2, 2, 2, dtype=dtype) for n in (cu, ce))
        torch.set_float32_matmul_precision("high")
        assert check.is_right_for(u, e.to(memory_format=torch.channels_last_3d), score_norm)  # type: ignore[arg-type]
        assert torch.get_float32_matmul_precision() == "high"
    real, attention = run.mix, CSCA(2).attention
    x = torch.zeros(1, 3, 2, 2, 2)
    x.__class__ = OnGpu

    def wrong(out: Tensor, *args: Any, **options: Any) -> None:
        real(out, *args, **options)
        out[..., -1] = 0

    def unfinished(out: Tensor, *args: Any, **options: Any) -> None:
        real(out, *args, **options)
        out[0, 0, 0] = torch.nan

    failing = mock.Mock(side_effect=RuntimeError("no kernel\nfor this device"))
    full = mock.Mock(side_effect=torch.OutOfMemoryError("no memory"))
    for mixes, taken, why in (
        (real, "triton", None),
        (wrong, "torch", "differs from PyTorch"),
        (unfinished, "torch", "differs from PyTorch inf times"),
        (failing, "torch", "RuntimeError: no kernel;"),
        (full, "torch", None),
    ):
        check.found.clear()
        records: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record, records=records: records.append(record.getMessage())  # type: ignore
        logging.getLogger("crossattn3d").addHandler(handler)
        logging.getLogger("crossattn3d").setLevel(logging.DEBUG)
        with (
            mock.patch.object(run, "mix", mixes),
            mock.patch("torch.cuda.device"),
            mock.patch("torch.cuda.is_current_stream_capturing", return_value=False),
        ):
            for _ in range(2):  # the second time from memory
                how = implementation(attention, x, x)
                assert how == (run.TRITON if taken == "triton" else Implementation(torch_pass.run_pass))
        logging.getLogger("crossattn3d").removeHandler(handler)
        took = f"auto: {taken} for maps of (1, 3, 2, 2, 2) and (1, 3, 2, 2, 2) on cpu"
        assert records[-1].startswith(took), records
        assert len(records) == 2 if why is None else len(records) == 3 and why in records[0], records
        assert bool(check.found) == (mixes is not full)
    check_capturing(x)
    return "4 kinds"


class OnGpu(Tensor):
    """A map on the CPU that says it is on a GPU."""

    is_cuda = True
    is_cpu = False


def check_capturing(x: Tensor) -> None:
    """Nothing is compared while a CUDA graph is captured, and nothing is concluded from that."""
    check.found.clear()
    with mock.patch("torch.cuda.device"), mock.patch("torch.cuda.is_current_stream_capturing", return_value=True):
        assert not check.is_right_for(x, x, "instance")
    assert not check.found


GROUPS: dict[str, Callable[[], str]] = {"launches": check_launches, "traffic": check_traffic, "auto": check_auto}


if __name__ == "__main__":
    torch.set_num_threads(1)
    patch_language_once()
    for group in sys.argv[1:]:
        print(f"{group}: {GROUPS[group]()}")
