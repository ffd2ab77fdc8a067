"""Modules that take the place of a part of another library's net and put cross-attention in front of a join.

Where a decoder block takes the concatenation of the decoder map U and the encoder map E, an `AttendedBlock` takes the
block's place. Where the net's own code joins the two, no module takes both: an `AttendedMap` takes the place of the one
that gives U, and what it gives attends to E when the net's code joins the two. Either way that code stays as it is.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class _Attended(nn.Module):
    """A part of a net and the attention in front of its join, with a gate that starts at zero or without."""

    def __init__(self, block: nn.Module, attention: nn.Module, zero_init: bool) -> None:
        super().__init__()
        self.block = block
        self.training = block.training
        self.attention = attention
        self.gate = nn.Parameter(next(attention.parameters()).new_zeros(())) if zero_init else None

    def attend(
        self, query: Float[Tensor, "b cq *size"], context: Float[Tensor, "b ce *size"]
    ) -> Float[Tensor, "b ce *size"]:
        """Return what takes the place of the encoder map `context`."""
        if query.ndim == 4:  # a 2D map is a volume of one slice
            attended: Tensor = self.attention(query.unsqueeze(2), context.unsqueeze(2)).squeeze(2)
        else:
            attended = self.attention(query, context)
        return attended if self.gate is None else context + self.gate * attended


class AttendedBlock(_Attended):
    """A decoder block that takes a concatenation, with cross-attention in front of it.

        block(cat([A, U])),   A = attention(U, E)

    With `zero_init`, A = E + g attention(U, E), and the scalar g starts at 0.

    Args:
        block: the block that takes the concatenation.
        attention: the module that is called with (query, context). Its result is as wide as the context.
        channels: widths of the query and of the context.
        encoder_first: whether E comes first in the concatenation.
        concatenate: whether U stays beside A. With False, the block takes A alone.
        zero_init: whether to add the attention to E through a scalar that starts at 0.

    Examples:
        >>> from crossattn3d import CSCA
        >>> block = AttendedBlock(nn.Conv3d(10, 4, 1), CSCA(4, 6), (4, 6))
        >>> block(torch.zeros(1, 10, 2, 3, 5)).shape
        torch.Size([1, 4, 2, 3, 5])
    """

    def __init__(
        self,
        block: nn.Module,
        attention: nn.Module,
        channels: tuple[int, int],
        *,
        encoder_first: bool = True,
        concatenate: bool = True,
        zero_init: bool = False,
    ) -> None:
        super().__init__(block, attention, zero_init)
        self.channels = channels
        self.encoder_first = encoder_first
        self.concatenate = concatenate

    def forward(self, joined: Float[Tensor, "b c *size"]) -> Float[Tensor, "b k *size_out"]:
        """Return the block's result for the concatenation `joined`."""
        order = -1 if self.encoder_first else 1
        query, context = torch.split(joined, list(self.channels[::order]), dim=1)[::order]
        attended = self.attend(query, context)
        if self.concatenate:
            attended = torch.cat((query, attended)[::order], dim=1)
        result: Tensor = self.block(attended)
        return result

    def extra_repr(self) -> str:
        """Return the options that `print(net)` shows."""
        return f"channels={self.channels}, encoder_first={self.encoder_first}, concatenate={self.concatenate}"


class AttendedMap(_Attended):
    """A module that returns the decoder map U, for nets whose own code joins it with the encoder map E.

    Its result waits for the join. Adding E to it gives U + A. Concatenating it with E gives cat([U, A]) in the net's
    order, with A as in `AttendedBlock`. Any other operation on it is an error, since it would miss the join.

    Args:
        block: the module that returns U.
        attention: the module that is called with (query, context). Its result is as wide as the context.
        zero_init: whether to add the attention to E through a scalar that starts at 0.

    Examples:
        >>> from crossattn3d import CSCA
        >>> up = AttendedMap(nn.ConvTranspose3d(8, 4, 2, stride=2), CSCA(4, residual=False))
        >>> (up(torch.zeros(1, 8, 2, 3, 5)) + torch.zeros(1, 4, 4, 6, 10)).shape
        torch.Size([1, 4, 4, 6, 10])
    """

    def __init__(self, block: nn.Module, attention: nn.Module, *, zero_init: bool = False) -> None:
        super().__init__(block, attention, zero_init)

    def forward(self, x: Float[Tensor, "b c *size"]) -> "UnjoinedMap":
        """Return the block's result, which attends to the map that the net's code joins it with."""
        return UnjoinedMap(self.block(x), self.attend)


class LoneBlock(nn.Module):
    """A block that also takes the map of an `AttendedMap` to which nothing was joined: it gets U itself.

    Args:
        block: the block that takes the joined map or U.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.training = block.training

    def forward(self, x: "Float[Tensor, 'b c *size'] | UnjoinedMap") -> Float[Tensor, "b k *size_out"]:
        """Return the block's result."""
        result: Tensor = self.block(x.decoder_map if isinstance(x, UnjoinedMap) else x)
        return result


#: What Python's + calls, on tensors and while torch.compile traces.
_SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)


class UnjoinedMap:
    """A decoder map U whose next operation joins it with the encoder map E: a sum or a concatenation.

    Args:
        decoder_map: U, (b, c, *size).
        attend: called with (U, E); its result takes the place of E.
    """

    def __init__(self, decoder_map: Float[Tensor, "b c *size"], attend: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.decoder_map = decoder_map
        self.attend = attend

    def __add__(self, encoder_map: Float[Tensor, "b c *size"]) -> Float[Tensor, "b c *size"]:
        """Return U + A."""
        return torch.add(self, encoder_map)  # type: ignore[call-overload, no-any-return]

    def __radd__(self, encoder_map: Float[Tensor, "b c *size"]) -> Float[Tensor, "b c *size"]:
        """Return A + U."""
        return torch.add(encoder_map, self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Join the maps that `function` is called with, where it is one that joins."""
        maps = args if function in _SUMS else args[0] if function in _CONCATENATIONS else ()
        found = [x for x in maps if isinstance(x, UnjoinedMap)]
        others = [x for x in maps if isinstance(x, Tensor)]
        if len(found) != 1 or len(others) != 1 or len(maps) != 2:
            name = getattr(function, "__name__", str(function))
            raise ValueError(
                f"AttendedMap: expected the net to add or concatenate one encoder map to the decoder map; got {name}; "
                "undo what was changed in the net's forward, or call unwrap_skips"
            )
        (unjoined,), (encoder_map,) = found, others
        attended = unjoined.attend(unjoined.decoder_map, encoder_map)
        joined = [unjoined.decoder_map if x is unjoined else attended for x in maps]
        return function(*joined) if function in _SUMS else function(joined, *args[1:], **(kwargs or {}))
