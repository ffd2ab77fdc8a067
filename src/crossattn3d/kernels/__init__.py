"""Cross-attention on tensors: the equations, and one primitive that every fast way of computing them rests on.

`reference` is the specification, `composed` the same as matrix products, `operation` a PyTorch operation with the
hand-derived gradients of `derivative`. That makes four passes over the maps (`passes`), each one call of a primitive,
`RunPass`, which `torch_pass`, `cpp` and `triton` implement; `backends` chooses one of them. `weights` has the
projections as matrices with their biases. `centers` keeps the digits of features far from 0; `modes` tells where
PyTorch has to look into the operation, so that `composed` computes instead.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Ones(NamedTuple):
    """A row of ones among the inputs of a pass."""


ONES = Ones()


class SingleChannel(NamedTuple):
    """Single-channel maps among the inputs of a pass, (batch, n, voxels), float32 or float64."""

    maps: Tensor


class Centered(NamedTuple):
    """Feature maps less a value per channel among the inputs of a pass: products of what is left keep its digits.

    Attributes:
        maps: (batch, channels, voxels), any strides.
        center: (batch, channels), in the dtype of sums.
    """

    maps: Tensor
    center: Tensor


class Made(NamedTuple):
    """Rows among the inputs of a pass that the pass makes itself and no memory has.

    Attributes:
        rows: their number.
    """

    rows: int


#: Feature maps as rows, (batch, channels, voxels), any strides; or one of the above.
Input = Tensor | Centered | SingleChannel | Ones | Made


class Gram(NamedTuple):
    """Sums over voxels of the products of some rows with some others, (batch, a_rows, b_rows); of whole inputs.

    Attributes:
        a: first of some rows, counted through all inputs.
        a_rows: their number.
        b: first of the others.
        b_rows: their number.
    """

    a: int
    a_rows: int
    b: int
    b_rows: int


class Mixture(NamedTuple):
    """A matrix for each sample times some inputs, plus one input.

    Attributes:
        columns: by the number of an input, the columns that multiply its rows, (batch, m, rows) each; of inputs that
            follow each other.
        out: destination, (batch, m, voxels), any strides; no memory of an input.
        add: number of the input of m rows that is added; None for no input.
    """

    columns: Mapping[int, Tensor]
    out: Tensor
    add: int | None = None


class Gating(NamedTuple):
    """A gate that a pass begins with: G x, for G the sigmoid of a mixture, or the gradients of x and of that mixture.

    Attributes:
        logits: the mixture; its `out` takes G x, to which its `add` is added, or with `dout` the gradient G dO.
        x: number of an input of as many rows.
        dout: number of the input with the gradient of G x; None for none.
        made: number of the `Made` input that takes the gradient of the logits, dO x G (1 - G); None without `dout`.
    """

    logits: Mixture
    x: int
    dout: int | None = None
    made: int | None = None


@runtime_checkable
class RunPass(Protocol):
    """The primitive that each kind of device implements."""

    def __call__(
        self, inputs: Sequence[Input], grams: Sequence[Gram], mixtures: Sequence[Mixture], dtype: torch.dtype
    ) -> list[Tensor]:
        """Read the inputs once; return the sums of products and write the mixtures.

        Args:
            inputs: stacked in this order; not ones alone.
            grams: sums to return.
            mixtures: rows to write.
            dtype: float32 or float64, in which products are summed.

        Returns:
            The sums, in `dtype`.
        """
        ...


class RunGatedPass(Protocol):
    """The primitive with a gate, which a backend may also implement."""

    def __call__(
        self,
        inputs: Sequence[Input],
        grams: Sequence[Gram],
        mixtures: Sequence[Mixture],
        dtype: torch.dtype,
        gating: Gating | None,
    ) -> list[Tensor]:
        """Apply the gate, then do what `RunPass` does; sums and mixtures may take the rows that the gate makes."""
        ...


def tensors_of(inputs: Sequence[Input]) -> list[Tensor]:
    """Return the inputs that lie in memory."""
    return [x if isinstance(x, Tensor) else x.maps for x in inputs if not isinstance(x, Ones | Made)]


def stacked_rows(inputs: Sequence[Input]) -> list[range]:
    """Return the rows that each input has in the stack."""
    ends = [0, *accumulate(_rows(x) for x in inputs)]
    return [range(start, end) for start, end in pairwise(ends)]


def _rows(x: Input) -> int:
    if isinstance(x, Ones):
        return 1
    return x.rows if isinstance(x, Made) else tensors_of([x])[0].shape[1]
