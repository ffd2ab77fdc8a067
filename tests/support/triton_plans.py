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

CPU = torch.device("cpu")
#: Maps of a launch, by the names of the kernel's arguments: those that each block of other channels reads again.
Launch = tuple[str, tuple[int, ...], dict[str, Any]]


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
    """`auto` on a GPU takes Triton once its results on that GPU are right; a failure means PyTorch, and is said."""
    torch_runs = Implementation(torch_pass.run_pass)
    on_gpu = SimpleNamespace(is_cuda=True, is_cpu=False, device=CPU, dtype=torch.float32, shape=(1,))
    with mock.patch("crossattn3d.kernels.backends.unsupported_reason", return_value=None):
        for score_norm, dtype in (("sqrt", torch.float32), ("instance", torch.bfloat16), ("cosine", torch.float16)):
            assert check.is_right_on(CPU, dtype, score_norm)
        real, attention = run.mix, CSCA(2).attention

        def wrong(out: Tensor, *args: Any, **options: Any) -> None:
            real(out, *args, **options)
            out[..., -1] = 0

        def unfinished(out: Tensor, *args: Any, **options: Any) -> None:
            real(out, *args, **options)
            out[0, 0, 0] = torch.nan

        failing = mock.Mock(side_effect=RuntimeError("no kernel\nfor this device"))
        for mixes, how, why in (
            (real, run.TRITON, None),
            (wrong, torch_runs, "differs from PyTorch"),
            (unfinished, torch_runs, "differs from PyTorch inf times"),
            (failing, torch_runs, "RuntimeError: no kernel"),
        ):
            check.found.clear()
            records: list[str] = []
            handler = logging.Handler()
            handler.emit = lambda record, records=records: records.append(record.getMessage())  # type: ignore
            logging.getLogger("crossattn3d").addHandler(handler)
            logging.getLogger("crossattn3d").setLevel(logging.DEBUG)
            with mock.patch.object(run, "mix", mixes):
                for _ in range(2):  # the second time from memory
                    assert implementation(attention, on_gpu, on_gpu) == how  # type: ignore[arg-type]
            logging.getLogger("crossattn3d").removeHandler(handler)
            took = f"auto: {'triton' if how == run.TRITON else 'torch'} for maps of (1,) and (1,) on cpu"
            assert records[-1] == records[-2] == took, records
            assert len(records) == 2 if why is None else why in records[0], records
    check_capturing()
    return "4 kinds"


def check_capturing() -> None:
    """Nothing is compared while a CUDA graph is captured, and nothing is concluded from that."""
    check.found.clear()
    with mock.patch("torch.cuda.is_current_stream_capturing", return_value=True):
        assert not check.is_right_on(torch.device("cuda"), torch.float32, "instance")
    assert not check.found


GROUPS: dict[str, Callable[[], str]] = {"launches": check_launches, "traffic": check_traffic, "auto": check_auto}


if __name__ == "__main__":
    for group in sys.argv[1:]:
        print(f"{group}: {GROUPS[group]()}")
