"""The two Triton kernels: sums over the voxels, and mixtures of channels.

    moments   A B^T, the row sums of A and B, A s^T for up to two single-channel maps s, and w A + b, w B + b
    mix       out = sum_s P_s X_s + bias + sum_r w_r (x) d_r + residual, X_0 s^T for up to two maps s, X_1 s^T for one

A program takes a run of voxels, tile by tile, of one sample and one block of channels. Sums over the voxels go to
the program's own slot, so that the result does not depend on which program ends first.
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
def project(x, w, c, C, block):
    """W x + b of one output channel, from this block of channels; the bias, last in `w`, counts once."""
    weight = tl.load(w + c, mask=c < C, other=0.0).to(tl.float32)
    bias = tl.load(w + C, mask=block == 0, other=0.0).to(tl.float32)
    return tl.sum(x.to(tl.float32) * weight[:, None], 0) + bias


@triton.jit
@no_type_check
def moments(
    a, b, center_a, center_b, wa, wk, wv, out_a, out_k, out_v, s0, s1, gram, vectors, CA, CB, C, L, chunk,
    out_a_block, out_a_batch, out_k_block, out_k_batch, out_v_block, out_v_batch, single_batch,
    a_batch, a_channel, a_voxel, b_batch, b_channel, b_voxel,
    SINGLE: tl.constexpr, EXACT: tl.constexpr, INTERPRETED: tl.constexpr,
    BA: tl.constexpr, BB: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """Sums over the voxels of one run, and single-channel projections.

    Args:
        a, b: the maps, (batch, CA, L) and (batch, CB, L) or None.
        center_a, center_b: float32, taken off each channel of a float32 map, (batch, CA) and (batch, CB), or None.
        wa, wk, wv: projections of a, b and b with their bias last, (batch, CA + 1) and so on, or None.
        out_a, out_k, out_v: their results, (batch, L), contiguous along L; one for each block of channels.
        s0, s1: SINGLE single-channel maps, (batch, L), contiguous along L, to be multiplied with a.
        gram: a slot for A B^T per run, (runs, batch, CA, CB), or None.
        vectors: slots for the sums of a, of b, and A s^T, (runs, batch, 2 + SINGLE, C); C is the larger of CA, CB.
    """
    run, z = tl.program_id(0), tl.program_id(2)
    blocks = tl.cdiv(CB, BB)
    i, j = tl.program_id(1) // blocks, tl.program_id(1) % blocks
    ca, cb = i * BA + tl.arange(0, BA), j * BB + tl.arange(0, BB)
    ACC: tl.constexpr = tl.float64 if EXACT else tl.float32
    sums = tl.zeros((BA, BB), ACC)
    sum_a, sum_b = tl.zeros((BA,), ACC), tl.zeros((BB,), ACC)
    weighted_0, weighted_1 = tl.zeros((BA,), ACC), tl.zeros((BA,), ACC)
    batch = z.to(tl.int64)
    at_single = batch * single_batch

    for first in tl.range(run * chunk, tl.minimum((run + 1) * chunk, L), BL):
        x = load_tile(a, z, ca, first, CA, L, a_batch, a_channel, a_voxel, BL)
        if center_a is not None:
            x = less_center(x, center_a, z, ca, first, CA, L, BL)
        sum_a += tl.sum(x.to(ACC), 1)
        if wa is not None and j == 0:
            of_a = project(x, wa + batch * (CA + 1), ca, CA, i)
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
            sum_b += tl.sum(y.to(ACC), 1)
            if wk is not None and i == 0:
                of_k = project(y, wk + batch * (CB + 1), cb, CB, j)
                store_row(out_k, batch * out_k_batch + j.to(tl.int64) * out_k_block, first, of_k, L, BL)
                of_v = project(y, wv + batch * (CB + 1), cb, CB, j)
                store_row(out_v, batch * out_v_batch + j.to(tl.int64) * out_v_block, first, of_v, L, BL)
            if gram is not None:
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

    slot = run.to(tl.int64) * tl.num_programs(2) + z
    if gram is not None:
        at = gram + slot * CA * CB + ca[:, None] * CB + cb[None, :]
        tl.store(at, sums, mask=(ca < CA)[:, None] & (cb < CB)[None, :])
    at = vectors + slot * (2 + SINGLE) * C
    if j == 0:
        tl.store(at + ca, sum_a, mask=ca < CA)
        if SINGLE > 0:
            tl.store(at + 2 * C + ca, weighted_0, mask=ca < CA)
        if SINGLE > 1:
            tl.store(at + 3 * C + ca, weighted_1, mask=ca < CA)
    if i == 0:
        tl.store(at + C + cb, sum_b, mask=cb < CB)


@triton.jit
@no_type_check
def mix(
    out, residual, bias, w0, w1, d0, d1, s0, s1, t1, vectors, others, x0, x1, x2, p0, p1, p2, C, C0, C1, C2, L, chunk,
    single_batch, bias_batch, bias_row, out_batch, out_channel, out_voxel,
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
        w0, w1: (batch, C) float32 or None, to be multiplied with d0 and d1, and added.
        d0, d1, s0, s1, t1: single-channel maps or None, (batch, L) float32, contiguous along L.
        vectors: a slot for X_0 s^T per run, (runs, batch, SINGLE, C0), for the SINGLE maps s0, s1.
        others: a slot for X_1 t1^T per run, (runs, batch, C1), or None.
        x0, x1, x2: the maps that are mixed, (batch, C0, L) and so on, or None.
        p0, p1, p2: their matrices, (batch, C, C0) and so on, float32, or None.
        HOIST: every map is one block of channels, so that a program reads the matrices once.
    """
    run, z = tl.program_id(0), tl.program_id(2)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    k0 = tl.arange(0, B0)
    weighted_0, weighted_1 = tl.zeros((B0,), tl.float32), tl.zeros((B0,), tl.float32)
    k1 = tl.arange(0, B1)
    weighted_other = tl.zeros((B1,), tl.float32)
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
            if x0 is not None:
                x = load_tile(x0, z, k0, first, C0, L, x0_batch, x0_channel, x0_voxel, BL)
                if p0 is not None:
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
                if others is not None:
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
            acc += tl.load(w0 + z * C + m, mask=m < C, other=0.0)[:, None] * d[None, :]
        if w1 is not None:
            d = load_row(d1, at_single, first, L, BL)
            acc += tl.load(w1 + z * C + m, mask=m < C, other=0.0)[:, None] * d[None, :]
        if residual is not None:
            tile = load_tile(residual, z, m, first, C, L, residual_batch, residual_channel, residual_voxel, BL)
            acc += tile.to(tl.float32)
        step = tl.arange(0, BL)
        at = z.to(tl.int64) * out_batch + tl.cast(first, tl.int64) * out_voxel
        at = (out + at) + m.to(tl.int64)[:, None] * out_channel + step.to(tl.int64)[None, :] * out_voxel
        tl.store(
            at, rounded(acc, out.dtype.element_ty, INTERPRETED), mask=(m < C)[:, None] & (first + step < L)[None, :]
        )

    if SINGLE > 0:
        slot = vectors + (run.to(tl.int64) * tl.num_programs(2) + z) * SINGLE * C0
        if tl.program_id(1) == 0:
            tl.store(slot + k0, weighted_0, mask=k0 < C0)
            if SINGLE > 1:
                tl.store(slot + C0 + k0, weighted_1, mask=k0 < C0)
    if others is not None:  # noqa: SIM102 - the one is decided at compile time, the other is not
        if tl.program_id(1) == 0:
            slot = others + (run.to(tl.int64) * tl.num_programs(2) + z) * C1
            tl.store(slot + k1, weighted_other, mask=k1 < C1)


#: Kernels run as plain Python on the CPU: TRITON_INTERPRET=1 was set before the import.
INTERPRETED = not isinstance(mix, triton.runtime.JITFunction)
VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])
