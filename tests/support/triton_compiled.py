"""Compiles the Triton kernels for a GPU that is not there, with the arguments that the passes launch them with.

    python tests/support/triton_compiled.py 90     for compute capability 9.0

What the interpreter does not show: that they compile, fit into 99 KiB of shared memory, and multiply as they should.
"""

import re
import sys
from types import SimpleNamespace
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from crossattn3d.kernels.centers import Centers
from crossattn3d.kernels.parameters import SCORE_NORMS
from crossattn3d.kernels.softmax import Scores
from crossattn3d.kernels.triton import kernels, launch, softmax
from crossattn3d.kernels.triton.run import run_pass
from support.four_passes import FourPasses

TRITON = FourPasses(run_pass)
NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}
SIZE = (32, 320, 320)
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """Takes the place of a kernel and keeps the arguments of its launches."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert max(grid[1:], default=1) < 2**16
        return lambda *args, **options: self.launches.append((self.kernel, args, options))


def compiled(kernel: Any, args: tuple[Any, ...], options: dict[str, Any], capability: int) -> Any:
    """Compile as the launch would: strides of 1 and missing maps are constants, multiples of 16 are known."""
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        value = options[name] if name in options else args[i]
        if name in options or value is None or (isinstance(value, int) and value == 1):
            signature[name], constants[(i,)] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[name], attributes[(i,)] = "*" + NAMES[value.dtype], [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={name: options[name] for name in ("num_warps", "num_stages") if name in options},
    )


def launch_all(channels: int, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Every pass, with and without the norms of `cosine`, on maps without memory."""

    def single(*shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    x = torch.empty((1, channels, *SIZE), dtype=dtype, device="meta", memory_format=memory_format)
    n, voxels = channels + 1, x[0, 0].numel()
    w, p, grams, single_maps = single(n), single(1, channels, channels), [single(1, n, n)] * 3, single(1, 4, voxels)
    centers = Centers(single(1, channels), single(1, channels)) if dtype == torch.float32 else None
    TRITON.reduce(x, x, w, w, w, False, centers=centers)
    TRITON.reduce(x, x, w, w, w, True, centers=centers)
    TRITON.apply(x, p, single(1, channels), single(1, voxels), single(channels), x)
    TRITON.reduce_backward(x, x, x, w, w, w, single(channels), centers)
    for norms in ((None, None), grams[1:]):
        TRITON.apply_backward(x, x, x, p, grams[0], *norms, single_maps, w, w, w, True)


def launch_softmax(n: int) -> None:
    """The softmax of every normalization and its derivative."""
    x = torch.empty((2, n, n), device="meta")
    for score_norm in SCORE_NORMS:
        if score_norm != "cosine":
            softmax.attention_map(Scores(x, 9, score_norm))
            softmax.attention_backward(x, Scores(x, 9, score_norm), torch.float32)


def check_softmax(capability: int) -> None:
    launches: list[Launch] = []
    softmax.forward, softmax.backward = (Recorder(kernel, launches) for kernel in (softmax.forward, softmax.backward))
    for n in (5, 32, softmax.MOST_ROWS):
        launch_softmax(n)
    for kernel, args, options in launches:
        assert compiled(kernel, args, options, capability).metadata.shared <= 99 * 1024, options
    assert len(launches) == 3 * 4 * 2


def main(capability: int) -> None:
    check_softmax(capability)
    launches: list[Launch] = []
    launch.kernels = SimpleNamespace(moments=Recorder(kernels.moments, launches), mix=Recorder(kernels.mix, launches))
    torch.cuda.get_device_properties = lambda device=None: SimpleNamespace(multi_processor_count=132)  # type: ignore
    shared = 0
    for channels, dtype, memory_format in (
        (32, torch.bfloat16, torch.contiguous_format),
        (32, torch.float32, torch.channels_last_3d),
        (64, torch.bfloat16, torch.channels_last_3d),
        (64, torch.float32, torch.contiguous_format),
        (80, torch.bfloat16, torch.contiguous_format),
        (128, torch.bfloat16, torch.channels_last_3d),
        (320, torch.float16, torch.contiguous_format),
    ):
        launches.clear()
        launch_all(channels, dtype, memory_format)
        for kernel, args, options in launches:
            what = (kernel.__name__, channels, dtype, memory_format, options)
            binary = compiled(kernel, args, options, capability)
            ptx = binary.asm["ptx"]
            shared = max(shared, binary.metadata.shared)
            assert "tf32" not in ptx, what
            assert binary.metadata.shared <= 99 * 1024, what
            multiplies = kernel.arg_names[0] == "out" or options["GRAM"]
            if multiplies and dtype == torch.bfloat16 and not options.get("EXACT"):
                assert re.search(r"mma\S*\.f32\.bf16\.bf16", ptx), what
    print(f"compiled for {capability}: shared memory {shared}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
