"""The primitive in Triton, for NVIDIA GPUs: the launches that a pass takes, as few as the two kernels allow.

Sums of products of feature maps are launches of `moments`, which also write projections to one channel of the maps
that they read. All other mixtures are launches of `mix`, which also sum products with single-channel maps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossattn3d.kernels import Centered, Gram, Input, Mixture, Ones, SingleChannel, stacked_rows, tensors_of
from crossattn3d.kernels.triton.launch import INTERPRETED, Projection, Source, kernels, mix, moments, sums_fit

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

    Grams and mixtures take whole inputs. A mixture takes up to three feature maps and two single-channel maps; of
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
    return [launches.assemble(gram) for gram in grams]


class _Launches:
    """The sums of products found so far, by the numbers of the inputs, and the mixtures written so far."""

    def __init__(self, inputs: Sequence[Input], grams: Sequence[Gram], dtype: torch.dtype) -> None:
        self.rows, self.dtype, self.like = stacked_rows(inputs), dtype, tensors_of(inputs)[0]
        self.maps = {i: x for i, x in enumerate(inputs) if isinstance(x, Tensor | Centered)}
        self.singles = {i: x.maps for i, x in enumerate(inputs) if isinstance(x, SingleChannel)}
        self.ones = next((i for i, x in enumerate(inputs) if isinstance(x, Ones)), -1)
        self.found: dict[tuple[int, int], Tensor] = {}
        self.written: list[Mixture] = []
        wanted = [(a, b) for g in grams for a in self._blocks(g.a, g.a_rows) for b in self._blocks(g.b, g.b_rows)]
        self.pairs = [(a, b) for a, b in wanted if a in self.maps and b in self.maps]
        #: Products of a feature map with single-channel maps that no launch has summed yet, the map first.
        self.left = {(a, b) for x, y in wanted for a, b in ((x, y), (y, x)) if a in self.maps and b in self.singles}

    def is_projection(self, mixture: Mixture) -> bool:
        """Return whether a launch of `moments` could write the mixture: one or two rows of one feature map."""
        columns = self._columns(mixture)
        return (
            mixture.out.dtype == torch.float32
            and mixture.out.stride(2) == 1
            and mixture.out.shape[1] <= 2
            and mixture.add is None
            and sum(i in self.maps for i in columns) == 1
            and not any(i in self.singles for i in columns)
        )

    def sum_maps(self, projections: list[Mixture]) -> None:
        """Sum the products of feature maps, and write the projections of what is read for that."""
        waiting = {(i, m.out.shape[1]): m for m in projections for i in self._columns(m) if i in self.maps}
        for a, b in self.pairs:
            self._moments(a, b, waiting.pop((a, 1), None), waiting.pop((b, 2), None), gram=True)
        for a in [a for a, rows in waiting if rows == 1]:
            other = next((b for b, rows in waiting if rows == 2 and b != a), None)
            double = None if other is None else waiting.pop((other, 2))
            self._moments(a, other, waiting.pop((a, 1)), double)

    def mix(self, mixture: Mixture) -> None:
        """Write a mixture, and sum the products with single-channel maps of what is read for that."""
        columns = self._columns(mixture)
        maps = sorted((i for i in columns if i in self.maps), key=lambda i: -len(self._left_of(i)))
        sources = [Source(self._map(i), columns[i]) for i in maps]
        bias = columns[self.ones][:, :, 0] if self.ones in columns else None
        weights = [
            (columns[i][:, :, r], row)
            for i in columns
            if i in self.singles
            for r, row in enumerate(self.singles[i].unbind(1))
        ]
        residual = None if mixture.add is None else self._map([r.start for r in self.rows].index(mixture.add))
        summed = [self._left_of(i) for i in maps] if sums_fit(sources) else []
        first, second = (
            rows if len(rows) <= most else [] for rows, most in zip((*summed, [], []), (2, 1), strict=False)
        )
        other = next((row for _, row in second), None)
        x_s, x_t = mix(mixture.out, sources, bias, weights, residual, [row for _, row in first], other)
        if x_s is not None:
            self._keep(maps[0], first, x_s)
        if x_t is not None:
            self._keep(maps[1], second, x_t[:, None])
        self.written.append(mixture)

    def sum_what_is_left(self) -> None:
        """Sum the products of feature maps with single-channel maps that no other launch has summed."""
        for a in sorted({a for a, _ in self.left}):
            rows = self._left_of(a)
            pairs = [rows[start : start + 2] for start in range(0, len(rows), 2)]
            sums = [moments(self.maps[a], single=[row for _, row in pair]).single for pair in pairs]
            self._keep(a, rows, torch.cat(sums, 1))

    def assemble(self, gram: Gram) -> Tensor:
        """Return the Gram matrix that the sums found are the blocks of."""
        whole = self.like.new_empty((len(self.like), gram.a_rows, gram.b_rows), dtype=self.dtype)
        for a, rows in self._blocks(gram.a, gram.a_rows).items():
            for b, columns in self._blocks(gram.b, gram.b_rows).items():
                whole[:, rows, columns] = self._product(a, b)
        return whole

    def _map(self, i: int) -> Tensor:
        x = self.maps[i]
        assert isinstance(x, Tensor), "centered maps are read by `moments` alone"
        return x

    def _product(self, a: int, b: int) -> Tensor:
        if (a, b) in self.found:
            return self.found[a, b]
        if (b, a) in self.found:
            return self.found[b, a].mT
        # Left are ones and single-channel maps, which are not worth a launch of their own.
        x, y = self.singles.get(a), self.singles.get(b)
        if x is not None and y is not None:
            return x @ y.mT
        if x is not None:
            return x.sum(2, keepdim=True)
        return y.sum(2)[:, None] if y is not None else self.like.new_full((), self.like.shape[2], dtype=self.dtype)

    def _moments(
        self, a: int, b: int | None, single: Mixture | None, double: Mixture | None, gram: bool = False
    ) -> None:
        of_a, of_b = ([] if m is None else self._projections(m) for m in (single, double))
        other, exact = None if b is None else self.maps[b], self.dtype == torch.float64
        found = moments(self.maps[a], other, next(iter(of_a), None), of_b, gram=gram, exact=exact)
        self.written += [m for m in (single, double) if m is not None]
        self.found[a, self.ones] = found.a[:, :, None]
        if b is not None:
            self.found[b, self.ones] = found.b[:, :, None]
            if found.gram is not None:
                self.found[a, b] = found.gram

    def _projections(self, mixture: Mixture) -> list[Projection]:
        """Return each row of a mixture of a feature map and ones, with the bias last."""
        columns = self._columns(mixture)
        bias = columns.pop(self.ones, mixture.matrix.new_zeros((*mixture.matrix.shape[:2], 1)))
        matrix = torch.cat((*columns.values(), bias), 2)
        return [Projection(w, mixture.out[:, r]) for r, w in enumerate(matrix.unbind(1))]

    def _left_of(self, a: int) -> list[tuple[int, Tensor]]:
        """Return the single-channel maps whose products with a feature map are not summed yet."""
        return [(b, row) for x, b in sorted(self.left) if x == a for row in self.singles[b].unbind(1)]

    def _keep(self, a: int, rows: Sequence[tuple[int, Tensor]], sums: Tensor) -> None:
        """Keep the sums of products of a feature map with single-channel maps, (b, rows, c)."""
        for b in dict.fromkeys(b for b, _ in rows):
            chosen = [r for r, (of, _) in enumerate(rows) if of == b]
            self.found[a, b] = sums[:, chosen].mT
            self.left.discard((a, b))

    def _blocks(self, first: int, count: int) -> dict[int, slice]:
        """Return the inputs in a range of stacked rows, and their places in the range."""
        return {
            i: slice(rows.start - first, rows.stop - first)
            for i, rows in enumerate(self.rows)
            if first <= rows.start and rows.stop <= first + count
        }

    def _columns(self, mixture: Mixture) -> dict[int, Tensor]:
        """Return the columns of the matrix that multiply each input of a mixture."""
        blocks = self._blocks(mixture.first, mixture.matrix.shape[2])
        return {i: mixture.matrix[:, :, at] for i, at in blocks.items()}
