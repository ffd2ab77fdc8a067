"""Gradients of the weights of convolutions, as matrix products over slices of the maps with the channels last."""

from collections.abc import Sequence

import torch
from torch import Tensor


def correlate(
    fine: Tensor, coarse: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    r"""Return $G_{oc,k} = \sum_{b,v} coarse_{b,o,v} fine_{b,c,sv+k-p}$, with zeros outside the fine map.

    That is the gradient of the weights of a convolution, given its input and the gradient of its output, and of a
    transposed convolution, given the gradient of its output and its input.

    With the channels last, the values under a row of the kernel lie side by side. The rows of voxels that are `step`
    apart do not overlap: those of every `step`-th voxel make a matrix, without a copy. The slices under the kernel lie
    between width and channels, so that the matrix has the rows of all of them.

    Args:
        fine: (b, c, d2, h2, w2), the map that the kernel moves over.
        coarse: (b, o, d, h, w), a voxel for each position of the kernel.
        kernel: its size along (d, h, w).
        stride: voxels of the fine map per voxel of the coarse one.
        padding: voxels that the first position of the kernel lies outside.

    Returns:
        (o, c, *kernel).

    Examples:
        >>> correlate(torch.ones(1, 2, 3, 3, 3), torch.ones(1, 4, 3, 3, 3), (1, 1, 3), (1, 1, 1), (0, 0, 1))[0, 0]
        tensor([[[18., 27., 18.]]])
    """
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw) = kernel, stride, padding
    (b, c, depth), (o, d, h, w) = fine.shape[:3], coarse.shape[1:]
    step = -(-kw // sw)
    # So long that no voxel's row reaches into the next line; the lines that the kernel moves over one after another,
    # `sh` apart, follow each other, so that the matrix goes on from one to the next.
    line = w - 1 + step
    blocks = -(-h * line // step)
    lines = h + (kh - 1) // sh
    slices = fine.new_zeros(sh, (lines * line + 2 * step) * sw, kd, c)
    positions = coarse.new_zeros(blocks * step, o)
    sums = fine.new_zeros(kd, kh, o, kw * kd * c)
    for sample in range(b):
        for i in range(d):
            first = sd * i - pd
            # Slice z stays at z % kd until the kernel has left it.
            for z in range(first if i == 0 else max(first, first + kd - sd), first + kd):
                for rest in range(sh):
                    target = slices[rest, : lines * line * sw].view(lines, line * sw, kd, c)[:, :, z % kd]
                    _fill(target, fine[sample, :, z] if 0 <= z < depth else None, (rest - ph, sh), -pw)
            positions[: h * line].view(h, line, o)[:, :w] = coarse[sample, :, i].permute(1, 2, 0)
            for y in range(kh):
                for j in range(step):
                    start = slices[y % sh, (y // sh * line + j) * sw :]
                    rows = start.as_strided((blocks, kw * kd * c), (step * sw * kd * c, 1))
                    # The few output channels as rows: BLAS takes several times longer over a matrix of few columns.
                    sums[first % kd, y].addmm_(positions.view(blocks, step, o)[:, j].T, rows)
    # Where slice k of the kernel was in the sums depends on where its first slice was.
    by_place = sums.view(kd, kh, o, kw, kd, c)
    turned = [torch.roll(by_place[first], -first, 3) for first in range(kd)]
    return torch.stack(turned).sum(0).permute(1, 4, 3, 0, 2)


def _fill(target: Tensor, source: Tensor | None, rows: tuple[int, int], column: int) -> None:
    """Copy every `rows[1]`-th row of (c, h, w) from row `rows[0]` and from a column on, both perhaps negative.

    Without a source, as outside the map, with zeros; what is beyond the map is zero already.
    """
    if source is None:
        target.zero_()
        return
    first, stride = rows
    before = max(0, -(first // stride))
    part = source[:, first + before * stride :: stride, : target.shape[1] + column][:, : len(target) - before]
    target[before : before + part.shape[1], -column : part.shape[2] - column] = part.permute(1, 2, 0)
