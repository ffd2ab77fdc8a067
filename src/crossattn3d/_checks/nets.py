"""Checks of nets, their parts, and the arguments and images they are given; errors say what came and what helps."""

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]


def check_net(who: str, net: object) -> None:
    """Raise ValueError unless `net` is a module."""
    if isinstance(net, type):
        raise ValueError(
            f"{who}: expected a net; got the class {net.__name__}; make a net of it first, {net.__name__}(...)"
        )
    if not isinstance(net, nn.Module):
        raise ValueError(f"{who}: expected a net, a torch.nn.Module; got {type(net).__name__}; give the net itself")


def check_width(who: str, name: str, value: object) -> int:
    """Return a number of channels as an int; raise ValueError unless it is a whole number of 1 or more."""
    width = whole_number(value)
    if width is None:
        raise ValueError(f"{who}: expected {name} of 1 or more, a whole number; got {value!r}")
    return width


def whole_number(value: object) -> int | None:
    """Return what counts as an int of 1 or more, as NumPy's integers do and True does not; None for anything else."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if number is not None and number >= 1 else None


def entries(values: object) -> list[object] | None:
    """Return the entries of a list, a tuple or an array; None for text and for what has no order or no length."""
    unordered = isinstance(values, (str, bytes, dict, set, frozenset))
    if unordered or not hasattr(values, "__len__") or not hasattr(values, "__getitem__"):
        return None
    try:
        return list(values)  # type: ignore[call-overload, no-any-return]
    except TypeError:  # an array of no dimensions
        return None


def checked_levels(who: str, channels: object) -> tuple[int, ...]:
    """Return the widths of the levels as ints; raise ValueError unless there are two or more."""
    widths = [whole_number(width) for width in entries(channels) or []]
    if len(widths) < 2 or None in widths:
        raise ValueError(
            f"{who}: expected channels of two or more levels, each 1 or more, a whole number; got {channels!r}; give "
            "one width per level, such as (32, 64, 128, 256)"
        )
    return tuple(width for width in widths if width is not None)


def check_factory(who: str, skip: object) -> None:
    """Raise ValueError unless `skip` can be called with two widths to make a module."""
    if isinstance(skip, nn.Module) or not callable(skip):
        got = f"the module {type(skip).__name__}" if isinstance(skip, nn.Module) else repr(skip)
        raise ValueError(
            f"{who}: expected skip as a factory, (decoder_channels, encoder_channels) -> module, which makes one for "
            f"each level; got {got}; give a class such as crossattn3d.CSCA, or functools.partial(CSCA, ...)"
        )
    error = _call_error(skip, 2)
    if error:
        raise ValueError(
            f"{who}: expected skip to take (decoder_channels, encoder_channels); got {skip!r}, which does not "
            f"({error}); fix its other arguments with functools.partial"
        )


def check_half(who: str, name: str, half: object) -> None:
    """Raise ValueError unless `half` is a module that is called as the halves of CSCA are."""
    error = _call_error(half.forward, 3) if isinstance(half, nn.Module) else "it is no module"
    if error:
        raise ValueError(
            f"{who}: expected {name} as a module that takes (query, context, attention), as the one that it replaces; "
            f"got {type(half).__name__} ({error}); for one half alone, use ChannelCrossAttention3d or "
            "SliceCrossAttention3d"
        )


def check_gate_module(who: str, gate: object, gated: bool) -> None:
    """Raise ValueError unless `gate` is what an attention has by its option `gated`: a module of both maps, or None."""
    if gate is None and not gated:
        return
    error = _call_error(gate.forward, 2) if isinstance(gate, nn.Module) else "it is no module"
    if error or not gated:
        raise ValueError(
            f"{who}: expected gate as {'a module that takes (query, context)' if gated else 'None'}, by gated={gated}; "
            f"got {type(gate).__name__}{f' ({error})' if gated else ''}; make the {who} with gated={not gated} for the "
            "other"
        )


def _call_error(function: Callable[..., object], arguments: int) -> str:
    """Return why a function cannot be called with as many arguments; empty if it can, or does not tell."""
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError as error:
        return str(error)
    except ValueError:  # no signature to be read
        return ""
    return ""


def checked_triples(
    who: str, name: str, values: Sequence[int | Sequence[int]] | None, count: int, default: int
) -> tuple[Triple, ...]:
    """Return a (d, h, w) for each of `count` levels from ints, triples or None; raise ValueError for anything else."""
    given = [default] * count if values is None else entries(values)
    triples = [entries(value) or [value] * 3 for value in given or []]
    numbers = [[whole_number(n) for n in triple] for triple in triples]
    if len(numbers) != count or any(len(triple) != 3 or None in triple for triple in numbers):
        raise ValueError(
            f"{who}: expected {name} with {count} entries, each an int or (d, h, w) of 1 or more; got {values!r}; "
            f"give one for each {'level' if name == 'kernel_sizes' else 'step between levels'}, such as "
            f"{(default,) * count}"
        )
    return tuple(cast("Triple", tuple(triple)) for triple in numbers)


def triple(values: Iterable[int]) -> Triple:
    """Return three values."""
    d, h, w = values
    return d, h, w


def check_kernels(who: str, kernel_sizes: Sequence[Triple], strides: Sequence[Triple]) -> None:
    """Raise ValueError unless kernels are odd and no smaller than the strides of their levels."""
    if any(n % 2 == 0 for kernel in kernel_sizes for n in kernel):
        raise ValueError(f"{who}: expected odd kernel_sizes, which keep the size; got {tuple(kernel_sizes)}")
    for level, (kernel, stride) in enumerate(zip(kernel_sizes, strides, strict=False)):
        if any(k < s for k, s in zip(kernel, stride, strict=True)):
            raise ValueError(
                f"{who}: expected kernel_sizes no smaller than strides, else up-sampling leaves holes; got kernel "
                f"{kernel} and stride {stride} at level {level}; use stride 1 where the kernel is 1"
            )


def check_skip(who: str, skip: object) -> int:
    """Return how wide the result of a skip is; raise ValueError unless it is a module that says so."""
    given = getattr(skip, "out_channels", None)
    width = whole_number(given)
    if not isinstance(skip, nn.Module) or width is None:
        raise ValueError(
            f"{who}: expected skip to make modules with an int out_channels; got {type(skip).__name__} with {given!r}; "
            "set self.out_channels in its __init__"
        )
    return width


def check_numbers(who: str, x: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless an image has numbers that the weights of a net can take, on their device."""
    # Autocast converts half precision and float32 into each other, nothing else.
    if not x.is_floating_point() or (x.dtype == torch.float64) != (weight.dtype == torch.float64):
        raise ValueError(
            f"{who}: expected an image of {weight.dtype} numbers, as the weights; got {x.dtype}; convert it with "
            f".to({weight.dtype})"
        )
    # Weights that are sharded or offloaded are elsewhere until their layer runs.
    if type(weight) is nn.Parameter and weight.device.type != "meta" and x.device != weight.device:
        raise ValueError(
            f"{who}: expected an image on {weight.device}, as the weights; got it on {x.device}; move one of them "
            "with .to()"
        )
