"""The primitive in plain PyTorch, on any device, in chunks of voxels: on a CPU of a size that stays in the cache.

Chunks are read and written where they are; a copy is made, of one chunk, only of maps less their centers, of maps in
half precision, for sums in float64, and of the few rows that are no feature map.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from crossattn3d.kernels import Centered, Gram, Input, Made, Mixture, Ones, SingleChannel, stacked_rows, tensors_of

#: Values of the widest input in a chunk where chunks are converted: 1 MiB of float32.
COPIED = 2**18
#: The same where they are not. Twice as fast with more threads than processors as `COPIED`, and as fast otherwise.
CHUNK = 2**20
#: The same on other devices, where each chunk costs launches: 512 MiB of float32.
CHUNK_OFF_CPU = 2**27
#: Rows up to which a product is summed in blocks of voxels on a CPU: libraries keep few partial sums of so few rows,
#: which loses digits and time.
FEW, BLOCK = 4, 256


class _Part(NamedTuple):
    """Rows of one operand that lie in a range of stacked rows: which, where in the range, and how many."""

    operand: int
    rows: slice
    places: slice | list[int]
    size: int


class _Product(NamedTuple):
    """One block of a Gram matrix and its sums, (batch, rows of a, rows of b)."""

    a: _Part
    b: _Part
    sums: Tensor


def run_pass(
    inputs: Sequence[Input], grams: Sequence[Gram], mixtures: Sequence[Mixture], dtype: torch.dtype
) -> list[Tensor]:
    """Read the inputs once; return the sums of products and write the mixtures; `RunPass` has the arguments."""
    maps = [x for x in inputs if isinstance(x, Tensor | Centered)]
    # Single-channel maps are gathered with the ones: a product for each would read and write its result once more.
    # Ones alone are not read: sums and a bias are faster than products.
    few = [x for x in inputs if isinstance(x, SingleChannel | Ones)]
    single = any(isinstance(x, SingleChannel) for x in few)
    rows = list(zip(inputs, stacked_rows(inputs), strict=True))
    operands = [list(of_x) for x, of_x in rows if isinstance(x, Tensor | Centered)]
    operands += [[row for x, of_x in rows if isinstance(x, SingleChannel | Ones) for row in of_x]] if few else []
    like = tensors_of(inputs)[0]
    pairs = [
        list(product(_parts(operands, gram.a, gram.a_rows), _parts(operands, gram.b, gram.b_rows))) for gram in grams
    ]
    # One memory, since off the CPU each call takes its time.
    zeros = like.new_zeros((len(like), sum(a.size * b.size for of_gram in pairs for a, b in of_gram)), dtype=dtype)
    blocks = iter(torch.split(zeros, [a.size * b.size for of_gram in pairs for a, b in of_gram], 1))
    products = [[_Product(a, b, next(blocks).view(len(like), a.size, b.size)) for a, b in of_gram] for of_gram in pairs]
    starts = [of_x.start for _, of_x in rows]
    terms = [_terms(m, operands, rows, dtype) for m in mixtures]
    added = [None if m.add is None else next(_parts(operands, starts[m.add], m.out.shape[1])) for m in mixtures]
    # Memory for maps less their centers: new memory for each chunk would cost more than the subtraction.
    memory: dict[int, Tensor] = {}
    for i, voxels in _chunks(tensors_of(inputs), dtype):
        chunks: list[Tensor | None] = [_read(x, i, voxels, like, dtype, memory) for x in maps]
        if few:
            chunks.append(torch.cat([_read(x, i, voxels, like, dtype, memory) for x in few]) if single else None)
        for of_gram in products:
            for a, b, sums in of_gram:
                _add_product(sums[i], _rows(chunks, a), _rows(chunks, b), voxels)
        for mixture, factors, add in zip(mixtures, terms, added, strict=True):
            _write(
                mixture.out[i, :, voxels],
                [(matrix[i], _rows(chunks, part)) for matrix, part in factors],
                None if add is None else _rows(chunks, add),
            )
    return [_assemble(gram, of_gram) for gram, of_gram in zip(grams, products, strict=True)]


def _parts(operands: list[list[int]], first: int, count: int) -> Iterator[_Part]:
    """Yield what each operand, given by its stacked rows, has of the `count` rows from `first` on."""
    for k, rows in enumerate(operands):
        inside = [j for j, row in enumerate(rows) if first <= row < first + count]
        if inside:
            places = [rows[j] - first for j in inside]
            together = places[-1] - places[0] == len(places) - 1  # makes a view, not a copy
            of_range = slice(places[0], places[-1] + 1) if together else places
            yield _Part(k, slice(inside[0], inside[-1] + 1), of_range, len(inside))


def _terms(
    mixture: Mixture, operands: list[list[int]], rows: list[tuple[Input, range]], dtype: torch.dtype
) -> list[tuple[Tensor, _Part]]:
    """Return the matrix for each operand that is mixed; the few rows gathered in one operand have one."""
    of_operands: dict[int, list[tuple[range, Tensor]]] = {}
    for number, columns in mixture.columns.items():
        of_input = rows[number][1]
        k = next(k for k, of_operand in enumerate(operands) if of_input.start in of_operand)
        of_operands.setdefault(k, []).append((of_input, columns.to(dtype)))
    terms = []
    for k, given in of_operands.items():
        first = operands[k].index(given[0][0].start)
        size = sum(len(of_input) for of_input, _ in given)
        matrix = given[0][1] if len(given) == 1 else torch.cat([columns for _, columns in given], 2)
        terms.append((matrix, _Part(k, slice(first, first + size), slice(0, size), size)))
    return terms


def _chunks(maps: list[Tensor], dtype: torch.dtype) -> Iterator[tuple[int, slice]]:
    """Yield sample and run of voxels of every chunk."""
    batch, _, length = maps[0].shape
    widest = max(maps, key=lambda x: x.shape[1])
    on_cpu = CHUNK if widest.dtype == dtype else COPIED
    step = max(1, (on_cpu if widest.is_cpu else CHUNK_OFF_CPU) // max(1, widest.shape[1]))
    for i in range(batch):
        for start in range(0, length, step):
            yield i, slice(start, min(start + step, length))


def _read(x: Input, i: int, voxels: slice, like: Tensor, dtype: torch.dtype, memory: dict[int, Tensor]) -> Tensor:
    if isinstance(x, Ones):
        return like.new_ones((1, voxels.stop - voxels.start), dtype=dtype)
    assert not isinstance(x, Made), "only a primitive with a gate makes rows"
    chunk = (x if isinstance(x, Tensor) else x.maps)[i, :, voxels].to(dtype)
    if not isinstance(x, Centered):
        return chunk
    if id(x) not in memory:  # the first chunk is the longest
        memory[id(x)] = torch.empty_like(chunk)
    return torch.sub(chunk, x.center[i, :, None].to(dtype), out=memory[id(x)][:, : chunk.shape[1]])


def _rows(chunks: list[Tensor | None], part: _Part) -> Tensor | None:
    """Return rows of an operand; None for ones."""
    chunk = chunks[part.operand]
    return None if chunk is None else chunk[part.rows]


def _add_product(sums: Tensor, a: Tensor | None, b: Tensor | None, voxels: slice) -> None:
    """Add A B^T; None stands for ones."""
    if a is None:
        sums += voxels.stop - voxels.start if b is None else b.sum(1)
    elif b is None:
        sums += a.sum(1, keepdim=True)
    elif len(a) > FEW or not a.is_cpu:
        sums.addmm_(a, b.mT)
    else:
        whole = a.shape[1] // BLOCK
        of_a, of_b = (x[:, : whole * BLOCK].reshape(len(x), whole, BLOCK).movedim(1, 0) for x in (a, b))
        sums += torch.bmm(of_a, of_b.mT).sum(0)
        sums.addmm_(a[:, whole * BLOCK :], b[:, whole * BLOCK :].mT)


def _write(out: Tensor, terms: list[tuple[Tensor, Tensor | None]], add: Tensor | None) -> None:
    """Write `add` + the sum of the terms, each a matrix and what it multiplies, computed in their dtype."""
    (a, b), *others = [(matrix, x) for matrix, x in terms if x is not None]
    biases = [matrix for matrix, x in terms if x is None] + ([] if add is None else [add])
    y = out if out.dtype == b.dtype else torch.empty_like(out, dtype=b.dtype)
    if biases:
        torch.addmm(biases[-1], a, b, out=y)
    else:
        torch.mm(a, b, out=y)
    for a, b in others:
        y.addmm_(a, b)
    for bias in biases[:-1]:
        y += bias
    if y is not out:
        out.copy_(y)


def _assemble(gram: Gram, products: list[_Product]) -> Tensor:
    """Return the Gram matrix that the products are the blocks of."""
    if len(products) == 1:
        return products[0].sums
    whole = products[0].sums.new_empty((len(products[0].sums), gram.a_rows, gram.b_rows))
    for a, b, sums in products:
        if isinstance(a.places, slice):
            whole[:, a.places, b.places] = sums
        else:
            for row, place in enumerate(a.places):
                whole[:, place, b.places] = sums[:, row]
    return whole
