"""Strides and kernels of each level of a net, along (d, h, w)."""

from collections.abc import Iterable, Sequence
from typing import cast

Triple = tuple[int, int, int]


def triple(values: Iterable[int]) -> Triple:
    """Return three values."""
    d, h, w = values
    return d, h, w


def triples(
    who: str, name: str, values: Sequence[int | Sequence[int]] | None, count: int, default: int
) -> tuple[Triple, ...]:
    """Return one (d, h, w) per level from ints, triples or nothing; raise ValueError, naming `who`, for others."""
    given = [default] * count if values is None else list(values)
    triples = [(v,) * 3 if isinstance(v, int) else tuple(v) for v in given]
    if len(triples) != count or any(len(t) != 3 or min(t) < 1 for t in triples):
        raise ValueError(
            f"{who}: expected {name} with {count} entries, each an int or (d, h, w) of 1 or more; got {values!r}"
        )
    return tuple(cast("Triple", t) for t in triples)


def check_kernels(who: str, kernel_sizes: Sequence[Triple], strides: Sequence[Triple]) -> None:
    """Raise ValueError, naming `who`, unless kernels are odd and no smaller than the strides."""
    if any(n % 2 == 0 for kernel in kernel_sizes for n in kernel):
        raise ValueError(f"{who}: expected odd kernel_sizes, which keep the size; got {tuple(kernel_sizes)}")
    for level, (kernel, stride) in enumerate(zip(kernel_sizes, strides, strict=False)):
        if any(k < s for k, s in zip(kernel, stride, strict=True)):
            raise ValueError(
                f"{who}: expected kernel_sizes no smaller than strides, else up-sampling leaves holes; got kernel "
                f"{kernel} and stride {stride} at level {level}; use stride 1 where the kernel is 1"
            )
