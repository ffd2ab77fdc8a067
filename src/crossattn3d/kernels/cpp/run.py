"""The primitive in C++, for CPUs: the call of `tiles.cpp`."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p
from functools import cache

import torch
from torch import Tensor

from crossattn3d.kernels import Centered, Gating, Gram, Input, Made, Mixture, Ones, stacked_rows, tensors_of
from crossattn3d.kernels.cpp.build import library

#: Starting a thread takes about as long as reading this many values.
VALUES_PER_THREAD = 2**18

TYPES = {torch.float32: 1, torch.float64: 2, torch.bfloat16: 3}
ONES, MADE = 0, 4


class _Place(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("center", c_void_p),
        ("batch_stride", c_int64),
        ("row_stride", c_int64),
        ("voxel_stride", c_int64),
        ("rows", c_int32),
        ("type", c_int32),
    )


class _Gram(ctypes.Structure):
    _fields_ = (("a", c_int32), ("a_rows", c_int32), ("b", c_int32), ("b_rows", c_int32), ("out", c_void_p))


class _Mixture(ctypes.Structure):
    _fields_ = (("matrix", c_void_p), ("first", c_int32), ("columns", c_int32), ("add", c_int32), ("out", _Place))


class _Gate(ctypes.Structure):
    _fields_ = (("logits", _Mixture), ("x", c_int32), ("dout", c_int32), ("made", c_int32))


def unsupported_reason(u: Tensor, e: Tensor) -> str | None:
    """Return why maps like these cannot be computed with here; None if they can."""
    for x in (u, e):
        if x.device.type != "cpu":
            return f"maps on {x.device.type}"
        if x.dtype not in TYPES:
            return f"maps of {x.dtype}"
    loaded = library()
    return loaded if isinstance(loaded, str) else None


def run_pass(
    inputs: Sequence[Input],
    grams: Sequence[Gram],
    mixtures: Sequence[Mixture],
    dtype: torch.dtype,
    gating: Gating | None = None,
) -> list[Tensor]:
    """Read the inputs once; return the sums of products and write the mixtures; `RunGatedPass` has the arguments.

    Inputs are float32, float64 or bfloat16. Across tiles, sums are in float64 whatever the dtype.
    """
    loaded = library()
    assert not isinstance(loaded, str), loaded
    like = tensors_of(inputs)[0]
    batch, _, length = like.shape
    assert all((x.shape[0], x.shape[2]) == (batch, length) for x in tensors_of(inputs)), "maps of one size"
    sums = [like.new_zeros((batch, g.a_rows, g.b_rows), dtype=torch.float64) for g in grams]
    if batch * length:
        starts = [of_x.start for of_x in stacked_rows(inputs)]
        every = [*mixtures] if gating is None else [*mixtures, gating.logits]
        matrices = [torch.cat([x.to(dtype) for x in m.columns.values()], 2).contiguous() for m in every]
        structs = [_mixture(m, matrix, starts) for m, matrix in zip(every, matrices, strict=True)]
        gate = None if gating is None else _gate(gating, structs.pop(), starts)
        given = [Centered(x.maps, x.center.to(dtype).contiguous()) if isinstance(x, Centered) else x for x in inputs]
        places = [_place(x) for x in given]
        values = batch * length * sum(place.rows for place in places)
        threads = min(torch.get_num_threads(), 1 + values // VALUES_PER_THREAD)
        status = loaded.run_pass(
            *_array(_Place, places),
            *_array(_Gram, [_Gram(*g, out.data_ptr()) for g, out in zip(grams, sums, strict=True)]),
            *_array(_Mixture, structs),
            None if gate is None else ctypes.byref(gate),
            batch, length, dtype == torch.float64, threads, team(),
        )  # fmt: skip
        check(status)
    return [x.to(dtype) for x in sums]


def check(status: int) -> None:
    """Raise MemoryError if a function of `tiles.cpp` failed, which it does for want of memory alone."""
    if status:
        raise MemoryError("cpp: expected memory for the tiles of each thread; got none; use fewer threads")


@cache
def team() -> int | None:
    """Return the address of `GOMP_parallel`, which starts the threads of PyTorch's OpenMP; None if there is none."""
    start = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return None if start is None else ctypes.cast(start, c_void_p).value


def _array(kind: type[ctypes.Structure], items: Sequence[ctypes.Structure]) -> tuple[object, int]:
    return (kind * len(items))(*items), len(items)


def _place(x: Input) -> _Place:
    if isinstance(x, Ones | Made):
        return _Place(None, None, 0, 0, 0, *((1, ONES) if isinstance(x, Ones) else (x.rows, MADE)))
    (rows,), center = tensors_of([x]), x.center.data_ptr() if isinstance(x, Centered) else None
    return _Place(rows.data_ptr(), center, *rows.stride(), rows.shape[1], TYPES[rows.dtype])


def _mixture(mixture: Mixture, matrix: Tensor, starts: Sequence[int]) -> _Mixture:
    first, add = starts[min(mixture.columns)], -1 if mixture.add is None else starts[mixture.add]
    return _Mixture(matrix.data_ptr(), first, matrix.shape[2], add, _place(mixture.out))


def _gate(gating: Gating, logits: _Mixture, starts: Sequence[int]) -> _Gate:
    return _Gate(logits, *(-1 if number is None else starts[number] for number in gating[1:]))
