"""The primitive in Triton, for NVIDIA GPUs: the launches that a pass takes, as few as the two kernels allow.

Sums of products of feature maps are launches of `moments`, which also write projections to one channel of the maps
that they read. All other mixtures are launches of `mix`, which also sum products with single-channel maps.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from crossattn3d.kernels import Centered, Gram, Input, Mixture, Ones, SingleChannel, stacked_rows, tensors_of
from crossattn3d.kernels.derivative import Implementation
from crossattn3d.kernels.triton import softmax
from crossattn3d.kernels.triton.launch import (
    INTERPRETED,
    Places,
    Projection,
    Source,
    Weighted,
    blocks_of,
    kernels,
    mix,
    moments,
    slots_for,
    sums_fit,
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported_reason(u: Tensor, e: Tensor) -> str | None:
    """Return why these maps cannot be computed with here; None if they can."""
    if u.dtype != e.dtype or u.dtype not in DTYPES:
        return f"maps are {u.dtype} and {e.dtype}, not both float32, bfloat16 or float16"
    if u.shape[2:].numel() >= 2**30:
        return f"maps have {u.shape[2:].numel()} voxels, 2**30 or more"
    if kernels.VERSION < (3, 5):
        return f"Triton {'.'.join(map(str, kernels.VERSION))} is older than 3.5"
    if INTERPRETED:
        return None
    if not u.is_cuda or not e.is_cuda:
        return f"maps are on {u.device.type} and {e.device.type}, not on CUDA"
    if torch.version.hip is not None:
        return "AMD GPUs are untested"
    major, minor = torch.cuda.get_device_capability(u.device)
    if major < 8:
        return f"the GPU's compute capability is {major}.{minor}, less than 8.0"
    return None


def run_pass(
    inputs: Sequence[Input], grams: Sequence[Gram], mixtures: Sequence[Mixture], dtype: torch.dtype
) -> list[Tensor]:
    """Read the inputs; return the sums of products and write the mixtures; `RunPass` has the arguments.

    A sum is of products of feature maps with each other or with ones, or of single-channel maps with feature maps or
    ones; the latter appear in a mixture. A mixture takes up to three feature maps and two single-channel maps; of
    centered maps it is a projection, of one map to one or two rows.
    """
    like = tensors_of(inputs)[0]
    if not like.numel():
        return [like.new_zeros((len(like), gram.a_rows, gram.b_rows), dtype=dtype) for gram in grams]
    launches = _Launches(inputs, grams, dtype)
    projections = [m for m in mixtures if launches.is_projection(m)]
    launches.sum_maps(projections)
    for mixture in (*projections, *(m for m in mixtures if not launches.is_projection(m))):
        if not any(mixture is done for done in launches.written):
            launches.mix(mixture)
    launches.sum_what_is_left()
    return launches.sums()


class _Launches:
    """What is to be summed, by the numbers of the inputs and its places in a slot, and the mixtures written so far."""

    def __init__(self, inputs: Sequence[Input], grams: Sequence[Gram], dtype: torch.dtype) -> None:
        self.rows, self.dtype, self.grams, like = stacked_rows(inputs), dtype, grams, tensors_of(inputs)[0]
        self.maps = {i: x for i, x in enumerate(inputs) if isinstance(x, Tensor | Centered)}
        self.singles = {i: x.maps for i, x in enumerate(inputs) if isinstance(x, SingleChannel)}
        self.ones = next((i for i, x in enumerate(inputs) if isinstance(x, Ones)), -1)
        self.written: list[Mixture] = []
        self.pairs: dict[tuple[int, int], Places] = {}
        #: By a feature map, the rows of single-channel maps that it is yet to be multiplied with.
        self.left: dict[int, list[Weighted]] = {}
        #: Where the sum of a row of a single-channel map goes, by input and row.
        self.totals: dict[tuple[int, int], int] = {}
        size = 0
        for gram in grams:
            self._plan(gram, size)
            size += gram.a_rows * gram.b_rows
        widths = [[len(self.rows[i]) for i in pair] for pair in self.pairs]
        blocks = [blocks_of(like, of_pair, dtype == torch.float64) for of_pair in widths]
        # Without sums there may be no feature map: slice-wise attention alone reads the channel that it mixed.
        self.slots = None
        if size:
            widest = max(tensors_of([*self.maps.values()]), key=lambda x: x.shape[1])
            self.slots = slots_for(widest, size, max(blocks, default=1), dtype)

    def _plan(self, gram: Gram, start: int) -> None:
        of_a, of_b = self._blocks(gram.a, gram.a_rows), self._blocks(gram.b, gram.b_rows)

        def place(a: int, b: int, row: int = 0) -> int:
            inside = a in of_a and b in of_b
            return start + (of_a[a].start + row) * gram.b_rows + of_b[b].start if inside else -1

        for a, b in product(of_a, of_b):
            if a in self.maps and b in self.maps:
                around = place(a, self.ones), place(self.ones, b), place(self.ones, self.ones)
                self.pairs[a, b] = Places(place(a, b), gram.b_rows, *around)
            for r, row in enumerate(self.singles[a].unbind(1) if a in self.singles else ()):
                if b in self.maps:
                    self.left.setdefault(b, []).append(Weighted(row, place(a, b, r)))
                else:
                    self.totals[a, r] = place(a, b, r)

    def is_projection(self, mixture: Mixture) -> bool:
        """Return whether a launch of `moments` could write the mixture: one or two rows of one feature map."""
        return (
            mixture.out.dtype == torch.float32
            and mixture.out.stride(2) == 1
            and mixture.out.shape[1] <= 2
            and mixture.add is None
            and sum(i in self.maps for i in mixture.columns) == 1
            and not any(i in self.singles for i in mixture.columns)
        )

    def sum_maps(self, projections: list[Mixture]) -> None:
        """Sum the products of feature maps, and write the projections of what is read for that."""
        waiting = {(i, m.out.shape[1]): m for m in projections for i in m.columns if i in self.maps}
        for (a, b), places in self.pairs.items():
            self._moments(a, b, waiting.pop((a, 1), None), waiting.pop((b, 2), None), places)
        for a in [a for a, rows in waiting if rows == 1]:
            other = next((b for b, rows in waiting if rows == 2 and b != a), None)
            double = None if other is None else waiting.pop((other, 2))
            self._moments(a, other, waiting.pop((a, 1)), double)

    def mix(self, mixture: Mixture) -> None:
        """Write a mixture, and sum the products with single-channel maps of what is read for that."""
        columns = mixture.columns
        maps = sorted((i for i in columns if i in self.maps), key=lambda i: -len(self.left.get(i, ())))
        sources = [Source(self._map(i), columns[i]) for i in maps]
        bias = columns[self.ones][:, :, 0] if self.ones in columns else None
        weights = [
            (columns[i][:, :, r], Weighted(row, self.totals.pop((i, r), -1)))
            for i in columns
            if i in self.singles
            for r, row in enumerate(self.singles[i].unbind(1))
        ]
        residual = None if mixture.add is None else self._map(mixture.add)
        fits = sums_fit(mixture.out.shape[1], sources)
        first, second = (
            self.left.pop(i) if fits and i in self.left and len(self.left[i]) <= most else []
            for i, most in zip((*maps, -1, -1), (2, 1), strict=False)
        )
        mix(mixture.out, sources, bias, weights, residual, first, next(iter(second), None), self.slots)
        self.written.append(mixture)

    def sum_what_is_left(self) -> None:
        """Sum the products of feature maps with single-channel maps that no other launch has summed."""
        for a, rows in self.left.items():
            for start in range(0, len(rows), 2):
                moments(self.maps[a], weighted=rows[start : start + 2], slots=self.slots)

    def sums(self) -> list[Tensor]:
        """Return the sums over all slots."""
        assert not self.totals, "sums of single-channel maps come with a mixture of them"
        if self.slots is None:
            return []
        total, sizes = self.slots.memory.sum(0), [gram.a_rows * gram.b_rows for gram in self.grams]
        # In memory of its own each, since an operation returns them; one launch.
        parts = [total] if len(sizes) == 1 else [total.new_empty((len(total), size)) for size in sizes]
        if len(sizes) > 1:
            torch.split_with_sizes_copy(total, sizes, 1, out=parts)
        return [part.view(-1, gram.a_rows, gram.b_rows) for part, gram in zip(parts, self.grams, strict=True)]

    def _map(self, i: int) -> Tensor:
        x = self.maps[i]
        assert isinstance(x, Tensor), "centered maps are read by `moments` alone"
        return x

    def _moments(
        self, a: int, b: int | None, single: Mixture | None, double: Mixture | None, places: Places | None = None
    ) -> None:
        of_a, of_b = ([] if m is None else self._projections(m) for m in (single, double))
        other, exact = None if b is None else self.maps[b], self.dtype == torch.float64
        slots = None if places is None else self.slots
        moments(self.maps[a], other, next(iter(of_a), None), of_b, places=places, slots=slots, exact=exact)
        self.written += [m for m in (single, double) if m is not None]

    def _projections(self, mixture: Mixture) -> list[Projection]:
        """Return each row of a mixture of a feature map and ones."""
        (weight,) = (x for i, x in mixture.columns.items() if i in self.maps)
        bias = mixture.columns.get(self.ones)
        return [
            Projection(weight[:, r], None if bias is None else bias[:, r, 0], mixture.out[:, r])
            for r in range(mixture.out.shape[1])
        ]

    def _blocks(self, first: int, count: int) -> dict[int, slice]:
        """Return the inputs in a range of stacked rows, and their places in the range."""
        return {
            i: slice(rows.start - first, rows.stop - first)
            for i, rows in enumerate(self.rows)
            if first <= rows.start and rows.stop <= first + count
        }


TRITON = Implementation(run_pass, softmax.attention_map, softmax.attention_backward)
