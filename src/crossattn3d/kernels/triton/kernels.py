"""The two Triton kernels: sums over the voxels, and mixtures of channels.

    moments   A B^T, the row sums of A and B, A s^T for up to two single-channel maps s, and w A + b, w B + b
    mix       out = sum_s P_s X_s + bias + sum_r w_r (x) d_r + residual, X_0 s^T for up to two maps s, X_1 s^T for one,
              and the sums of the d_r

A program takes a run of voxels, tile by tile, of one sample and one block of channels. Sums over the voxels go to
the slot of its run, so that the result does not depend on which program ends first. The blocks of channels of a run
follow each other, so that what one of them reads the next finds in the cache.
"""
# mypy: ignore-errors
# ruff: noqa: D417, N803
# Triton reads the source of these functions and needs them undecorated by type checkers: hence `no_type_check`.

from typing import no_type_check

import triton
import triton.language as tl

from crossattn3d.kernels.triton.tiles import (
    add_product,
    add_products,
    add_tile,
    exact,
    less_center,
    load_matrix,
    load_row,
    load_tile,
    operand,
    rounded,
    store_row,
)


@triton.jit
@no_type_check
def project(x, w, bias, c, C, block):
    """W x + b of one output channel, from this block of channels; the bias counts once, and may be None."""
    weight = tl.load(w + c, mask=c < C, other=0.0).to(tl.float32)
    sums = tl.sum(x.to(tl.float32) * weight[:, None], 0)
    if bias is not None:
        sums += tl.load(bias, mask=block == 0, other=0.0).to(tl.float32)
    return sums


@triton.jit
@no_type_check
def moments(
    a, b, center_a, center_b, wa, wk, wv, bias_a, bias_k, bias_v, out_a, out_k, out_v, s0, s1, slots, CA, CB, L, chunk,
    slot, gram, gram_row, sums_a, sums_b, count, at_s0, at_s1, wa_batch, wb_batch, bias_a_batch, bias_b_batch,
    out_a_block, out_a_batch, out_k_block, out_k_batch, out_v_block, out_v_batch, single_batch,
    a_batch, a_channel, a_voxel, b_batch, b_channel, b_voxel,
    SINGLE: tl.constexpr, GRAM: tl.constexpr, EXACT: tl.constexpr, INTERPRETED: tl.constexpr,
    BA: tl.constexpr, BB: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """Sums over the voxels of one run, and single-channel projections.

    Args:
        a: a map, (batch, CA, L).
        b: another, (batch, CB, L), or None.
        center_a: taken off each channel of a, if that is float32: (batch, CA), float32, or None.
        center_b: the same for b, (batch, CB).
        wa: projection of a, (batch, CA), or None.
        wk: projection of b, (batch, CB), or None.
        wv: another projection of b.
        bias_a: bias of wa, (batch,), or None.
        bias_k: bias of wk.
        bias_v: bias of wv.
        out_a: result of wa, (batch, L), contiguous along L; one for each block of channels.
        out_k: result of wk.
        out_v: result of wv.
        s0: the first of SINGLE single-channel maps to be multiplied with a, (batch, L), contiguous along L.
        s1: the second.
        slots: sums, (runs, batch, slot), or None.
        gram: where A B^T is in a slot.
        gram_row: from a row of it to the next.
        sums_a: where the sums of a are, `gram_row` apart; below 0: nowhere.
        sums_b: where those of b are; below 0: nowhere.
        count: where L is; below 0: nowhere.
        at_s0: where A s0^T is.
        at_s1: where A s1^T is.
    """
    run, z = tl.program_id(1), tl.program_id(2)
    blocks = tl.cdiv(CB, BB)
    i, j = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    ca, cb = i * BA + tl.arange(0, BA), j * BB + tl.arange(0, BB)
    ACC: tl.constexpr = tl.float64 if EXACT else tl.float32
    sums = tl.zeros((BA, BB), ACC)
    sum_a, sum_b = tl.zeros((BA,), ACC), tl.zeros((BB,), ACC)
    weighted_0, weighted_1 = tl.zeros((BA,), ACC), tl.zeros((BA,), ACC)
    batch = z.to(tl.int64)
    at_single = batch * single_batch
    last = tl.minimum((run + 1) * chunk, L)

    for first in tl.range(run * chunk, last, BL):
        x = load_tile(a, z, ca, first, CA, L, a_batch, a_channel, a_voxel, BL)
        if center_a is not None:
            x = less_center(x, center_a, z, ca, first, CA, L, BL)
        if GRAM:
            sum_a += tl.sum(x.to(ACC), 1)
        if wa is not None and j == 0:
            bias = bias_a if bias_a is None else bias_a + batch * bias_a_batch
            of_a = project(x, wa + batch * wa_batch, bias, ca, CA, i)
            store_row(out_a, batch * out_a_batch + i.to(tl.int64) * out_a_block, first, of_a, L, BL)
        if SINGLE > 0:
            o = load_row(s0, at_single, first, L, BL)
            weighted_0 += tl.sum(x.to(ACC) * o.to(ACC)[None, :], 1)
        if SINGLE > 1:
            o = load_row(s1, at_single, first, L, BL)
            weighted_1 += tl.sum(x.to(ACC) * o.to(ACC)[None, :], 1)
        if b is not None:
            y = load_tile(b, z, cb, first, CB, L, b_batch, b_channel, b_voxel, BL)
            if center_b is not None:
                y = less_center(y, center_b, z, cb, first, CB, L, BL)
            if wk is not None and i == 0:
                bias = bias_k if bias_k is None else bias_k + batch * bias_b_batch
                of_k = project(y, wk + batch * wb_batch, bias, cb, CB, j)
                store_row(out_k, batch * out_k_batch + j.to(tl.int64) * out_k_block, first, of_k, L, BL)
                bias = bias_v if bias_v is None else bias_v + batch * bias_b_batch
                of_v = project(y, wv + batch * wb_batch, bias, cb, CB, j)
                store_row(out_v, batch * out_v_batch + j.to(tl.int64) * out_v_block, first, of_v, L, BL)
            if GRAM:
                sum_b += tl.sum(y.to(ACC), 1)
                if EXACT:
                    sums = tl.dot(
                        exact(x, INTERPRETED),
                        tl.trans(exact(y, INTERPRETED)),
                        sums,
                        input_precision="ieee",
                        out_dtype=ACC,
                    )
                else:
                    sums = add_tile(sums, operand(x, INTERPRETED), tl.trans(operand(y, INTERPRETED)))

    at = slots
    if slots is not None:
        at = slots + (run.to(tl.int64) * tl.num_programs(2) + z) * slot
    if GRAM:
        tl.store(at + gram + ca[:, None] * gram_row + cb[None, :], sums, mask=(ca < CA)[:, None] & (cb < CB)[None, :])
        tl.store(at + sums_a + ca * gram_row, sum_a, mask=(ca < CA) & (sums_a >= 0) & (j == 0))
        tl.store(at + sums_b + cb, sum_b, mask=(cb < CB) & (sums_b >= 0) & (i == 0))
        tl.store(at + count, (last - run * chunk).to(ACC), mask=(count >= 0) & (i + j == 0))
    if SINGLE > 0:
        tl.store(at + at_s0 + ca, weighted_0, mask=(ca < CA) & (j == 0))
    if SINGLE > 1:
        tl.store(at + at_s1 + ca, weighted_1, mask=(ca < CA) & (j == 0))


@triton.jit
@no_type_check
def mix(
    out, residual, bias, w0, w1, d0, d1, s0, s1, t1, slots, x0, x1, x2, p0, p1, p2, C, C0, C1, C2, L, chunk,
    slot, at_s0, at_s1, at_t1, at_d0, at_d1, single_batch, bias_batch, bias_row,
    w0_batch, w0_row, w1_batch, w1_row, out_batch, out_channel, out_voxel,
    residual_batch, residual_channel, residual_voxel, x0_batch, x0_channel, x0_voxel,
    x1_batch, x1_channel, x1_voxel, x2_batch, x2_channel, x2_voxel,
    p0_batch, p0_row, p0_column, p1_batch, p1_row, p1_column, p2_batch, p2_row, p2_column,
    SINGLE: tl.constexpr, HOIST: tl.constexpr, INTERPRETED: tl.constexpr,
    BM: tl.constexpr, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """One block of output channels of one run of voxels.

    Args:
        out: the result, (batch, C, L).
        residual: a map that is added, or None.
        bias: (batch, C) float32, or None.
        w0: (batch, C) float32 or None, to be multiplied with d0, and added.
        w1: the same for d1.
        d0: a single-channel map or None, (batch, L) float32, contiguous along L; so are d1, s0, s1 and t1.
        d1: another.
        s0: the first of SINGLE maps that X_0 is multiplied with.
        s1: the second.
        t1: what X_1 is multiplied with.
        slots: sums, (runs, batch, slot), or None.
        at_s0: where X_0 s0^T is in a slot.
        at_s1: where X_0 s1^T is.
        at_t1: where X_1 t1^T is.
        at_d0: where the sum of d0 is; below 0: nowhere.
        at_d1: where the sum of d1 is; below 0: nowhere.
        x0: the first map that is mixed, (batch, C0, L), or None.
        x1: the second, (batch, C1, L), or None.
        x2: the third, (batch, C2, L), or None.
        p0: matrix of x0, (batch, C, C0), float32, or None.
        p1: matrix of x1, (batch, C, C1).
        p2: matrix of x2, (batch, C, C2).
        HOIST: every map is one block of channels, so that a program reads the matrices once.
    """
    run, z = tl.program_id(1), tl.program_id(2)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    k0 = tl.arange(0, B0)
    weighted_0, weighted_1 = tl.zeros((B0,), tl.float32), tl.zeros((B0,), tl.float32)
    k1 = tl.arange(0, B1)
    weighted_other = tl.zeros((B1,), tl.float32)
    total_0, total_1 = tl.zeros((BL,), tl.float32), tl.zeros((BL,), tl.float32)
    at_single = z.to(tl.int64) * single_batch
    if HOIST:
        if p0 is not None:
            high0, low0, factor0 = load_matrix(p0, z, m, k0, C, C0, p0_batch, p0_row, p0_column, x0.dtype.element_ty)
        if p1 is not None:
            high1, low1, factor1 = load_matrix(p1, z, m, k1, C, C1, p1_batch, p1_row, p1_column, x1.dtype.element_ty)
        if p2 is not None:
            k2 = tl.arange(0, B2)
            high2, low2, factor2 = load_matrix(p2, z, m, k2, C, C2, p2_batch, p2_row, p2_column, x2.dtype.element_ty)

    for first in tl.range(run * chunk, tl.minimum((run + 1) * chunk, L), BL):
        acc = tl.zeros((BM, BL), tl.float32)
        if HOIST:
            if p0 is not None:
                x = load_tile(x0, z, k0, first, C0, L, x0_batch, x0_channel, x0_voxel, BL)
                acc = add_product(acc, high0, low0, factor0, x, INTERPRETED)
                if SINGLE > 0:
                    d = load_row(s0, at_single, first, L, BL)
                    weighted_0 += tl.sum(x.to(tl.float32) * d[None, :], 1)
                if SINGLE > 1:
                    d = load_row(s1, at_single, first, L, BL)
                    weighted_1 += tl.sum(x.to(tl.float32) * d[None, :], 1)
            if p1 is not None:
                x = load_tile(x1, z, k1, first, C1, L, x1_batch, x1_channel, x1_voxel, BL)
                acc = add_product(acc, high1, low1, factor1, x, INTERPRETED)
                if t1 is not None:
                    d = load_row(t1, at_single, first, L, BL)
                    weighted_other += tl.sum(x.to(tl.float32) * d[None, :], 1)
            if p2 is not None:
                x = load_tile(x2, z, k2, first, C2, L, x2_batch, x2_channel, x2_voxel, BL)
                acc = add_product(acc, high2, low2, factor2, x, INTERPRETED)
        else:
            if p0 is not None:
                acc = add_products(
                    acc, x0, p0, z, m, first, C, C0, L, x0_batch, x0_channel, x0_voxel, p0_batch, p0_row, p0_column,
                    INTERPRETED, B0, BL,
                )  # fmt: skip
            if p1 is not None:
                acc = add_products(
                    acc, x1, p1, z, m, first, C, C1, L, x1_batch, x1_channel, x1_voxel, p1_batch, p1_row, p1_column,
                    INTERPRETED, B1, BL,
                )  # fmt: skip
            if p2 is not None:
                acc = add_products(
                    acc, x2, p2, z, m, first, C, C2, L, x2_batch, x2_channel, x2_voxel, p2_batch, p2_row, p2_column,
                    INTERPRETED, B2, BL,
                )  # fmt: skip
        if bias is not None:
            acc += tl.load(bias + z * bias_batch + m * bias_row, mask=m < C, other=0.0).to(tl.float32)[:, None]
        if w0 is not None:
            d = load_row(d0, at_single, first, L, BL)
            total_0 += d
            acc += tl.load(w0 + z * w0_batch + m * w0_row, mask=m < C, other=0.0)[:, None] * d[None, :]
        if w1 is not None:
            d = load_row(d1, at_single, first, L, BL)
            total_1 += d
            acc += tl.load(w1 + z * w1_batch + m * w1_row, mask=m < C, other=0.0)[:, None] * d[None, :]
        if residual is not None:
            tile = load_tile(residual, z, m, first, C, L, residual_batch, residual_channel, residual_voxel, BL)
            acc += tile.to(tl.float32)
        step = tl.arange(0, BL)
        at = z.to(tl.int64) * out_batch + tl.cast(first, tl.int64) * out_voxel
        at = (out + at) + m.to(tl.int64)[:, None] * out_channel + step.to(tl.int64)[None, :] * out_voxel
        tl.store(
            at, rounded(acc, out.dtype.element_ty, INTERPRETED), mask=(m < C)[:, None] & (first + step < L)[None, :]
        )

    if slots is not None:  # noqa: SIM102 - the one is decided at compile time, the other is not
        if tl.program_id(0) == 0:
            at = slots + (run.to(tl.int64) * tl.num_programs(2) + z) * slot
            if SINGLE > 0:
                tl.store(at + at_s0 + k0, weighted_0, mask=k0 < C0)
            if SINGLE > 1:
                tl.store(at + at_s1 + k0, weighted_1, mask=k0 < C0)
            if t1 is not None:
                tl.store(at + at_t1 + k1, weighted_other, mask=k1 < C1)
            if w0 is not None:
                tl.store(at + at_d0, tl.sum(total_0, 0), mask=at_d0 >= 0)
            if w1 is not None:
                tl.store(at + at_d1, tl.sum(total_1, 0), mask=at_d1 >= 0)


#: Kernels run as plain Python on the CPU: TRITON_INTERPRET=1 was set before the import.
INTERPRETED = not isinstance(mix, triton.runtime.JITFunction)
VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])
