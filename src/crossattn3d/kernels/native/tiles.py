"""Calling `tiles.cpp`: one pass over stacked rows of maps, with sums of their products and mixtures of them."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels.native.build import library

#: Starting a thread takes about as long as reading so many values.
VALUES_PER_THREAD = 2**18

TYPES = {torch.float32: 1, torch.float64: 2, torch.bfloat16: 3}


class _Place(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("voxel_stride", ctypes.c_int64),
        ("rows", ctypes.c_int32),
        ("type", ctypes.c_int32),
    )


class _Gram(ctypes.Structure):
    _fields_ = (
        ("a", ctypes.c_int32),
        ("a_rows", ctypes.c_int32),
        ("b", ctypes.c_int32),
        ("b_rows", ctypes.c_int32),
        ("out", ctypes.c_void_p),
    )


class _Mixture(ctypes.Structure):
    _fields_ = (
        ("matrix", ctypes.c_void_p),
        ("first", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("add", ctypes.c_int32),
        ("out", _Place),
    )


class Ones(NamedTuple):
    """A row of ones among the inputs."""


class Gram(NamedTuple):
    """Sums over voxels of the products of some rows with some others, (batch, a_rows, b_rows).

    Args:
        a, b: the first rows, counted through all inputs.
        a_rows, b_rows: how many.
    """

    a: int
    a_rows: int
    b: int
    b_rows: int


class Mixture(NamedTuple):
    """A matrix for each sample times some rows, plus some rows.

    Args:
        matrix: (batch, m, n).
        first: the first of the n rows that are mixed.
        out: where it goes, (batch, m, voxels), any strides.
        add: the first of m rows that are added; None for no rows.
    """

    matrix: Tensor
    first: int
    out: Tensor
    add: int | None = None


def run_pass(
    inputs: Sequence[Tensor | Ones], grams: Sequence[Gram], mixtures: Sequence[Mixture], dtype: torch.dtype
) -> list[Tensor]:
    """Read the inputs once; return the sums and write the mixtures.

    Args:
        inputs: (batch, rows, voxels), any strides, float32, float64 or bfloat16; stacked in this order.
        grams: what is summed.
        mixtures: what is mixed; may be written over an input.
        dtype: what is computed in, float32 or float64; across tiles, sums are in float64 in any case.

    Returns:
        The sums, in float64.
    """
    loaded = library()
    assert not isinstance(loaded, str), loaded
    maps = [x for x in inputs if isinstance(x, Tensor)]
    batch, _, length = maps[0].shape
    sums = [maps[0].new_zeros((batch, g.a_rows, g.b_rows), dtype=torch.float64) for g in grams]
    if batch * length == 0:
        return sums
    matrices = [m.matrix.to(dtype).contiguous() for m in mixtures]
    places = (_Place * len(inputs))(*map(_place, inputs))
    of_grams = (_Gram * len(grams))(*(_Gram(*g, out.data_ptr()) for g, out in zip(grams, sums, strict=True)))
    of_mixtures = (_Mixture * len(mixtures))(
        *(
            _Mixture(w.data_ptr(), m.first, w.shape[2], -1 if m.add is None else m.add, _place(m.out))
            for m, w in zip(mixtures, matrices, strict=True)
        )
    )
    function = loaded.pass_in_double if dtype == torch.float64 else loaded.pass_in_float
    threads = min(torch.get_num_threads(), 1 + batch * length * sum(_rows(x) for x in inputs) // VALUES_PER_THREAD)
    arrays = places, len(places), of_grams, len(of_grams), of_mixtures, len(of_mixtures)
    failed = function(*arrays, batch, length, threads, _team())
    if failed:
        raise MemoryError("native: expected memory for the tiles of each thread; got none; use fewer threads")
    return sums


@cache
def _team() -> int | None:
    """The address of `GOMP_parallel` in the OpenMP that PyTorch brought along, which starts its threads; or None."""
    start = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return None if start is None else ctypes.cast(start, ctypes.c_void_p).value


def _rows(x: Tensor | Ones) -> int:
    return x.shape[1] if isinstance(x, Tensor) else 1


def _place(x: Tensor | Ones) -> _Place:
    if isinstance(x, Ones):
        return _Place(None, 0, 0, 0, 1, 0)
    return _Place(x.data_ptr(), *x.stride(), x.shape[1], TYPES[x.dtype])
