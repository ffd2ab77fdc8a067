"""The primitive in Triton, for NVIDIA GPUs: the launches that a pass takes, as few as the two kernels allow.

Sums of products of feature maps are launches of `moments`, which also write projections to one channel of the maps
that they read. All other mixtures are launches of `mix`, which also sum products with single-channel maps.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import Gram, Input, Mixture, Ones, SingleChannel, stacked_rows, tensors_of
from crossattn3d.kernels.triton.launch import INTERPRETED, Projection, Source, kernels, mix, moments, sums_fit

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported_reason(u: Tensor, e: Tensor) -> str | None:
    """Return why these maps cannot be computed with here; None if they can."""
    if u.dtype != e.dtype or u.dtype not in DTYPES:
        return f"maps are {u.dtype} and {e.dtype}, not both float32, bfloat16 or float16"
    if u[0, 0].numel() >= 2**30:
        return f"maps have {u[0, 0].numel()} voxels, 2**30 or more"
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

    Grams and mixtures take whole inputs. A mixture takes up to three feature maps and two single-channel maps.
    """
    launches = _Launches(inputs, grams, dtype)
    projections = [m for m in mixtures if launches.is_projection(m)]
    launches.sum_maps(projections)
    for mixture in (*projections, *(m for m in mixtures if not launches.is_projection(m))):
        if not any(mixture is done for done in launches.written):
            launches.mix(mixture)
    launches.sum_what_is_left()
    return [launches.assemble(gram) for gram in grams]


class _Block(NamedTuple):
    """An input in a range of stacked rows, and its place in the range."""

    input: int
    at: slice


class _Launches:
    """The sums of products found so far, by the numbers of the inputs, and the mixtures written so far."""

    def __init__(self, inputs: Sequence[Input], grams: Sequence[Gram], dtype: torch.dtype) -> None:
        self.inputs, self.rows, self.dtype = inputs, stacked_rows(inputs), dtype
        self.like = tensors_of(inputs)[0]
        self.found: dict[tuple[int, int], Tensor] = {}
        self.written: list[Mixture] = []
        wanted = [
            (a.input, b.input)
            for gram in grams
            for a in self._blocks(gram.a, gram.a_rows)
            for b in self._blocks(gram.b, gram.b_rows)
        ]
        self.pairs = [(a, b) for a, b in wanted if self._is_map(a) and self._is_map(b)]
        #: Products of a feature map with single-channel maps that no launch has summed yet, the map first.
        self.left = {
            (a, b) if self._is_map(a) else (b, a)
            for a, b in wanted
            if self._is_map(a) != self._is_map(b) and not isinstance(inputs[b if self._is_map(a) else a], Ones)
        }

    def is_projection(self, mixture: Mixture) -> bool:
        """Return whether a launch of `moments` could write the mixture: one or two rows of one feature map."""
        blocks = self._mixed(mixture)
        return (
            mixture.out.dtype == torch.float32
            and mixture.out.stride(2) == 1
            and mixture.out.shape[1] <= 2
            and mixture.add is None
            and sum(self._is_map(b.input) for b in blocks) == 1
            and all(self._is_map(b.input) or isinstance(self.inputs[b.input], Ones) for b in blocks)
        )

    def sum_maps(self, projections: list[Mixture]) -> None:
        """Sum the products of feature maps, and write the projections of what is read for that."""
        waiting = {(self._map_of(m), m.out.shape[1]): m for m in projections}
        for a, b in self.pairs:
            self._moments(a, b, waiting.pop((a, 1), None), waiting.pop((b, 2), None), gram=True)
        for a in [a for a, rows in waiting if rows == 1]:
            other = next((b for b, rows in waiting if rows == 2 and b != a), None)
            double = None if other is None else waiting.pop((other, 2))
            self._moments(a, other, waiting.pop((a, 1)), double)

    def mix(self, mixture: Mixture) -> None:
        """Write a mixture, and sum the products with single-channel maps of what is read for that."""
        blocks = self._mixed(mixture)
        maps = sorted((b for b in blocks if self._is_map(b.input)), key=lambda b: -len(self._left_of(b.input)))
        sources = [Source(self._map(b.input), mixture.matrix[:, :, b.at]) for b in maps]
        bias = next((mixture.matrix[:, :, b.at] for b in blocks if isinstance(self.inputs[b.input], Ones)), None)
        weights = [
            (mixture.matrix[:, :, b.at.start + r], row) for b in blocks for r, row in enumerate(self._single(b.input))
        ]
        residual = None if mixture.add is None else self._map([r.start for r in self.rows].index(mixture.add))
        summed = [self._left_of(b.input) for b in maps] if sums_fit(sources) else []
        first, second = (
            rows if len(rows) <= most else [] for rows, most in zip((*summed, [], []), (2, 1), strict=False)
        )
        x_s, x_t = mix(
            mixture.out, sources, None if bias is None else bias[:, :, 0], weights, residual,
            [row for _, row in first], next((row for _, row in second), None),
        )  # fmt: skip
        if x_s is not None:
            self._keep(maps[0].input, first, x_s)
        if x_t is not None:
            self._keep(maps[1].input, second, x_t[:, None])
        self.written.append(mixture)

    def sum_what_is_left(self) -> None:
        """Sum the products of feature maps with single-channel maps that no other launch has summed."""
        for a in sorted({a for a, _ in self.left}):
            rows = self._left_of(a)
            pairs = [rows[start : start + 2] for start in range(0, len(rows), 2)]
            sums = [moments(self._map(a), single=[row for _, row in pair]).single for pair in pairs]
            self._keep(a, rows, torch.cat(sums, 1))

    def assemble(self, gram: Gram) -> Tensor:
        """Return the Gram matrix that the sums found are the blocks of."""
        whole = self.like.new_empty((len(self.like), gram.a_rows, gram.b_rows), dtype=self.dtype)
        for a in self._blocks(gram.a, gram.a_rows):
            for b in self._blocks(gram.b, gram.b_rows):
                whole[:, a.at, b.at] = self._product(a.input, b.input)
        return whole

    def _product(self, a: int, b: int) -> Tensor:
        if (a, b) in self.found:
            return self.found[a, b]
        if (b, a) in self.found:
            return self.found[b, a].mT
        # Left are ones and single-channel maps, which are not worth a launch of their own.
        x, y = ((i.maps if isinstance(i, SingleChannel) else None) for i in (self.inputs[a], self.inputs[b]))
        if x is not None and y is not None:
            return x @ y.mT
        if x is not None:
            return x.sum(2, keepdim=True)
        return y.sum(2)[:, None] if y is not None else self.like.new_full((), self.like.shape[2], dtype=self.dtype)

    def _moments(
        self, a: int, b: int | None, single: Mixture | None, double: Mixture | None, gram: bool = False
    ) -> None:
        found = moments(
            self._map(a),
            None if b is None else self._map(b),
            next(self._projections(single), None),
            list(self._projections(double)),
            gram=gram,
            exact=self.dtype == torch.float64,
        )
        self.written += [m for m in (single, double) if m is not None]
        ones = next((i for i, x in enumerate(self.inputs) if isinstance(x, Ones)), None)
        if ones is not None:
            self.found[a, ones] = found.a[:, :, None]
            if b is not None:
                self.found[b, ones] = found.b[:, :, None]
        if found.gram is not None and b is not None:
            self.found[a, b] = found.gram

    def _projections(self, mixture: Mixture | None) -> Iterator[Projection]:
        """Yield each row of a mixture of a feature map and ones, with the bias last."""
        if mixture is None:
            return
        bias = mixture.matrix.new_zeros((*mixture.matrix.shape[:2], 1))
        weight = bias[:, :, :0]
        for block in self._mixed(mixture):
            if self._is_map(block.input):
                weight = mixture.matrix[:, :, block.at]
            else:
                bias = mixture.matrix[:, :, block.at]
        for r, w in enumerate(torch.cat((weight, bias), 2).unbind(1)):
            yield Projection(w, mixture.out[:, r])

    def _left_of(self, a: int) -> list[tuple[int, Tensor]]:
        """Return the single-channel maps whose products with a feature map are not summed yet."""
        return [(b, row) for x, b in sorted(self.left) if x == a for row in self._single(b)]

    def _keep(self, a: int, rows: Sequence[tuple[int, Tensor]], sums: Tensor) -> None:
        """Keep the sums of products of a feature map with single-channel maps, (b, rows, c)."""
        for b in dict.fromkeys(b for b, _ in rows):
            chosen = [r for r, (of, _) in enumerate(rows) if of == b]
            self.found[a, b] = sums[:, chosen].mT
            self.left.discard((a, b))

    def _blocks(self, first: int, count: int) -> list[_Block]:
        """Return the inputs in a range of stacked rows."""
        return [
            _Block(i, slice(rows.start - first, rows.stop - first))
            for i, rows in enumerate(self.rows)
            if first <= rows.start and rows.stop <= first + count
        ]

    def _mixed(self, mixture: Mixture) -> list[_Block]:
        return self._blocks(mixture.first, mixture.matrix.shape[2])

    def _map_of(self, mixture: Mixture) -> int:
        return next(b.input for b in self._mixed(mixture) if self._is_map(b.input))

    def _is_map(self, i: int) -> bool:
        return isinstance(self.inputs[i], Tensor)

    def _map(self, i: int) -> Tensor:
        x = self.inputs[i]
        assert isinstance(x, Tensor)
        return x

    def _single(self, i: int) -> list[Tensor]:
        x = self.inputs[i]
        return list(x.maps.unbind(1)) if isinstance(x, SingleChannel) else []
