"""Parts of the Triton kernels: tiles of a map, and products with a matrix in full precision."""
# mypy: ignore-errors
# ruff: noqa: N803, SIM300
# Triton reads the source of these functions and needs them undecorated by type checkers: hence `no_type_check`.

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def load_tile(x, z, c, first, C, L, batch_stride, channel_stride, voxel_stride, BL: tl.constexpr):
    """Channels `c` of sample `z` at voxels first .. first + BL, 0 outside the map; offsets may pass 2^31."""
    at = tl.cast(z, tl.int64) * batch_stride + tl.cast(first, tl.int64) * voxel_stride
    step = tl.arange(0, BL)
    at = (x + at) + c.to(tl.int64)[:, None] * channel_stride + step.to(tl.int64)[None, :] * voxel_stride
    return tl.load(at, mask=(c < C)[:, None] & (first + step < L)[None, :], other=0.0)


@triton.jit
@no_type_check
def less_center(x, center, z, c, first, C, L, BL: tl.constexpr):
    """A tile that `load_tile` returned less the center of each channel, (batch, C); still 0 outside the map."""
    of_c = tl.load(center + z.to(tl.int64) * C + c, mask=c < C, other=0.0)
    inside = (c < C)[:, None] & (first + tl.arange(0, BL) < L)[None, :]
    return tl.where(inside, x - of_c[:, None], 0.0)


@triton.jit
@no_type_check
def load_row(x, offset, first, L, BL: tl.constexpr):
    """A single-channel map at voxels first .. first + BL, 0 outside."""
    step = tl.arange(0, BL)
    return tl.load(x + (tl.cast(offset, tl.int64) + first) + step, mask=first + step < L, other=0.0)


@triton.jit
@no_type_check
def store_row(x, offset, first, values, L, BL: tl.constexpr):
    """The inverse of `load_row`."""
    step = tl.arange(0, BL)
    tl.store(x + (tl.cast(offset, tl.int64) + first) + step, values, mask=first + step < L)


@triton.jit
@no_type_check
def operand(x, INTERPRETED: tl.constexpr):
    """Return the operand of a matrix product; for bfloat16, which Triton's interpreter cannot multiply, in float32."""
    return x.to(tl.float32) if INTERPRETED and x.dtype == tl.bfloat16 else x


@triton.jit
@no_type_check
def exact(x, INTERPRETED: tl.constexpr):
    """The map in float64.

    Triton 3.5 to 3.7 abort on a product in float64 of narrower maps (triton-lang/triton#11632), unless something
    is between the loads and the conversion that it cannot move.
    """
    x = x.to(tl.float32)
    if not INTERPRETED:
        x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=False, pack=1)
    return x.to(tl.float64)


@triton.jit
@no_type_check
def rounded(x, DTYPE: tl.constexpr, INTERPRETED: tl.constexpr):
    """The nearest value of the maps' dtype; Triton's interpreter would cut bfloat16 off."""
    if INTERPRETED and DTYPE == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        x = (bits + 0x7FFF + ((bits >> 16) & 1)).to(tl.float32, bitcast=True)
    return x.to(DTYPE)


@triton.jit
@no_type_check
def load_matrix(p, z, m, k, M, K, batch_stride, row_stride, column_stride, DTYPE: tl.constexpr):
    """A block of P as high + low part in the maps' dtype and a factor: 16 bits of it in bfloat16, 22 in float16.

    The factor keeps it within the range of float16. What is lost is far below the rounding of the maps.
    """
    at = p + z * batch_stride + m[:, None] * row_stride + k[None, :] * column_stride
    block = tl.load(at, mask=(m < M)[:, None] & (k < K)[None, :], other=0.0).to(tl.float32)
    largest = tl.max(tl.max(tl.abs(block), 1), 0)
    factor = tl.where(largest > 0, largest, 1.0)
    if DTYPE == tl.float32:
        return block, block, factor
    block = block / factor
    high = block.to(DTYPE)
    return high, (block - high.to(tl.float32)).to(DTYPE), factor


@triton.jit
@no_type_check
def add_product(acc, high, low, factor, x, INTERPRETED: tl.constexpr):
    """P x in float32, added to `acc`."""
    if x.dtype == tl.float32:
        return tl.dot(high, x, acc, input_precision="ieee")
    x = operand(x, INTERPRETED)
    product = tl.dot(operand(low, INTERPRETED), x, input_precision="ieee")
    product = tl.dot(operand(high, INTERPRETED), x, product, input_precision="ieee")
    return acc + factor * product


@triton.jit
@no_type_check
def add_tile(sums, x, y):
    """The product of one tile, added to `sums` and rounded to nearest.

    Tensor cores cut each sum over 16 terms off, which over the thousands of tiles of a run would take 1e-3 of a sum of
    squares. The last argument, which is for float8 alone, keeps the compiler from adding within the tensor cores.
    """
    if x.dtype == tl.float32:
        return tl.dot(x, y, sums, input_precision="ieee")
    return sums + tl.dot(x, y, input_precision="ieee", max_num_imprecise_acc=2**30)


@triton.jit
@no_type_check
def add_products(
    acc, x, p, z, m, first, M, K, L, x_batch, x_channel, x_voxel, p_batch, p_row, p_column,
    INTERPRETED: tl.constexpr, BK: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """P x added to `acc`, a block of columns of P at a time."""
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        high, low, factor = load_matrix(p, z, m, k, M, K, p_batch, p_row, p_column, x.dtype.element_ty)
        tile = load_tile(x, z, k, first, K, L, x_batch, x_channel, x_voxel, BL)
        acc = add_product(acc, high, low, factor, tile, INTERPRETED)
    return acc
