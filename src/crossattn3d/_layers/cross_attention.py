"""What the modules of attention share: options, checked whenever they are set, and one operation where it can."""

from collections.abc import Callable
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d import functional
from crossattn3d._checks.maps import check_inputs, check_returned
from crossattn3d._checks.nets import check_gate_module, check_width
from crossattn3d._checks.options import check_flag, check_options, check_temperature, check_unchanged
from crossattn3d._checks.scripting import NotScriptable
from crossattn3d._layers.gate import Gate
from crossattn3d._layers.halves import ChannelHalf, Half, SliceHalf
from crossattn3d._layers.hooks import is_plain
from crossattn3d.functional import (
    Arguments,
    Attention,
    Backend,
    ChannelParameters,
    ScoreNorm,
    SliceParameters,
    backend_of,
)


class CrossAttention3d(NotScriptable, Half):
    """The options of an attention, which nothing else holds, and the call that every attention makes."""

    #: What the layers are made for.
    _FIXED = ("query_channels", "context_channels", "out_channels", "gated")

    query_channels: int
    context_channels: int
    out_channels: int
    gated: bool
    gate: nn.Module | None
    score_norm: ScoreNorm
    residual: bool
    slice_dim: int
    backend: Backend

    def __init__(
        self,
        query_channels: int,
        context_channels: int | None = None,
        *,
        score_norm: ScoreNorm = "instance",
        residual: bool | None = None,
        slice_dim: int = -3,
        backend: Backend = "auto",
        gated: bool = False,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        query_channels = check_width(who, "query_channels", query_channels)
        if context_channels is None:
            context_channels = query_channels
        context_channels = check_width(who, "context_channels", context_channels)
        residual = query_channels == context_channels if residual is None else residual
        self.query_channels = query_channels
        self.context_channels = context_channels
        self.out_channels = context_channels
        check_flag(who, "gated", gated)
        self.gated = gated
        self._set_options(Attention(score_norm, residual, slice_dim, backend))
        self._recompute: bool | None = None
        self.add_layers(query_channels, context_channels, score_norm)
        channel, _ = self._halves()
        if gated and channel is not None:
            channel.add_static_mixture(context_channels)
        self.gate = Gate(query_channels, context_channels) if gated else None

    def _halves(self) -> tuple[ChannelHalf | None, SliceHalf | None]:
        """Return the channel-wise half and the slice-wise one, None for a missing one; one may be this module."""
        return None, None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._FIXED:
            check_unchanged(self, name, value)
        if name == "gate":
            check_gate_module(type(self).__name__, value, self.gated)
        if name not in Attention._fields:
            super().__setattr__(name, value)
            return
        options = self.attention._replace(**{name: value})
        for half in self._halves():
            if half is not None:
                check_temperature(type(self).__name__, options, half.temperature)
        self._set_options(options)

    def _set_options(self, options: Attention) -> None:
        who = type(self).__name__
        check_options(who, options)
        if options.residual and self.query_channels != self.context_channels:
            raise ValueError(
                f"{who}: expected equal widths for residual=True; got query_channels={self.query_channels} and "
                f"context_channels={self.context_channels}; use residual=False"
            )
        self.__dict__.update(options._asdict())

    @property
    def attention(self) -> Attention:
        """The options that decide how the attention is computed."""
        return Attention(self.score_norm, self.residual, self.slice_dim, self.backend)

    @property
    def recompute(self) -> bool:
        """Whether to recompute the result in the backward pass instead of keeping it; follows the backend unless set.

        That takes two passes over the maps, little beside the convolutions, and three more with a gate, without which
        it is the default. The reference is too expensive, and so are layers that have to be called, which may also
        count their calls or drop other values each time, as the `forward` of a subclass may.
        """
        by_default = backend_of(self.backend) != "reference" and not self.gated
        chosen = by_default if self._recompute is None else self._recompute
        return chosen and self._has_known_forward() and self._is_all_fused()

    @recompute.setter
    def recompute(self, value: bool) -> None:
        check_flag(type(self).__name__, "recompute", value)
        self._recompute = value

    def _has_known_forward(self) -> bool:
        """Return whether neither a subclass nor a patch brings a `forward` of its own."""
        return type(self).forward is CrossAttention3d.forward and "forward" not in self.__dict__

    def recomputation(self, query: Tensor, context: Tensor) -> Callable[[], Tensor] | None:
        """Return a function that gives the result again, whatever changes here; None if `recompute` is False."""
        if not self.recompute:
            return None
        mix = partial(
            functional.attend, type(self).__name__, query, context, *self._fused_parameters(), self._of_mixture()
        )
        if not isinstance(self.gate, Gate):
            return mix
        parameters, who, attention = self.gate.parameters_of_gate(), type(self).__name__, self.attention
        return lambda: functional.pass_gate(who, query, context, mix(), parameters, attention)

    def _of_mixture(self) -> Attention:
        """Return the options of what a gate lets pass, to which the decoder map is added after it."""
        return self.attention if self.gate is None else self.attention._replace(residual=False)

    def extra_repr(self) -> str:
        """Return the arguments that made this module, for `print(module)`."""
        return (
            f"{self.query_channels}, {self.context_channels}, score_norm={self.score_norm!r}, "
            f"residual={self.residual}, slice_dim={self.slice_dim}, backend={self.backend!r}, gated={self.gated}"
        )

    def _is_fused(self, half: ChannelHalf | SliceHalf | None) -> bool:
        """Return whether one operation computes a half from its weights, without a call of the half or its layers."""
        if half is None:
            return True
        unchanged = self._is(half) or is_plain(half, ChannelHalf) or is_plain(half, SliceHalf)
        return unchanged and half.has_plain_layers()

    def _is_all_fused(self) -> bool:
        """Return whether the weights of the halves and of a gate say all."""
        return all(map(self._is_fused, self._halves())) and (self.gate is None or self._has_plain_gate())

    def _has_plain_gate(self) -> bool:
        return isinstance(self.gate, Gate) and is_plain(self.gate, Gate) and self.gate.has_plain_layers()

    def _fused_parameters(self) -> tuple[ChannelParameters | None, SliceParameters | None]:
        """Return the weights of the halves that one operation computes, None for the others."""
        channel, slices = self._halves()
        return (
            None if channel is None or not self._is_fused(channel) else channel.parameters_of_attention(),
            None if slices is None or not self._is_fused(slices) else slices.parameters_of_attention(),
        )

    def fused_arguments(self) -> Arguments | None:
        """Return all that one operation computes the attention from, before a gate; None if layers have to be called.

        The reference, which is literal, is no such operation.
        """
        attention = self._of_mixture()._replace(slice_dim=self.slice_dim % 5 - 5, backend=backend_of(self.backend))
        if attention.backend == "reference" or not self._is_all_fused():
            return None
        return (*self._fused_parameters(), attention) if self._has_known_forward() else None

    def _is(self, half: nn.Module) -> bool:
        return half is self

    def forward(
        self, query: Float[Tensor, "b cq x y z"], context: Float[Tensor, "b ce x y z"]
    ) -> Float[Tensor, "b ce x y z"]:
        """Return the map that takes the place of the concatenation.

        Args:
            query: the decoder map U.
            context: the encoder map E, of the same spatial size.
        """
        mixture = self._mix(query, context)
        if self.gate is None:
            return mixture
        who, attention = type(self).__name__, self.attention
        if isinstance(self.gate, Gate) and self._has_plain_gate():
            return functional.pass_gate(who, query, context, mixture, self.gate.parameters_of_gate(), attention)
        query = query.to(context.dtype)
        gate: Tensor = self.gate(query, context)
        check_returned(who, "gate", gate, context, self.out_channels)
        passed = gate.to(context.dtype) * mixture
        return passed + query if attention.residual else passed

    def _mix(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum of the halves and, unless a gate follows, the residual."""
        attention, fused = self._of_mixture(), self._fused_parameters()
        halves = zip(("channel", "slices"), self._halves(), strict=True)
        called = [(name, half) for name, half in halves if half is not None and not self._is_fused(half)]
        if not called:
            return functional.attend(type(self).__name__, query, context, *fused, attention)
        check_inputs(type(self).__name__, query, context, (self.query_channels, self.context_channels))
        query = query.to(context.dtype)
        results: list[Tensor] = []
        for name, half in called:
            results.append((half.call_layers if self._is(half) else half)(query, context, attention))
            check_returned(type(self).__name__, name, results[-1], context, self.out_channels)
        if any(parameters is not None for parameters in fused):
            results.append(functional.attend(type(self).__name__, query, context, *fused, attention))
        elif attention.residual:
            results.append(query)
        return sum(results[1:], start=results[0]).to(context.dtype)

    def _channel_map(self, half: ChannelHalf, query: Tensor, context: Tensor) -> Tensor:
        if not self._is_fused(half):
            return self._called_map(half, query, context)
        return functional.channel_attention_map(
            query, context, half.parameters_of_attention(), score_norm=self.score_norm, backend=self.backend
        )

    def _slice_map(self, half: SliceHalf, query: Tensor, context: Tensor) -> Tensor:
        if not self._is_fused(half):
            return self._called_map(half, query, context)
        parameters = half.parameters_of_attention()
        return functional.slice_attention_map(
            query, context, parameters, score_norm=self.score_norm, slice_dim=self.slice_dim, backend=self.backend
        )

    def _called_map(self, half: ChannelHalf | SliceHalf, query: Tensor, context: Tensor) -> Tensor:
        check_inputs(type(self).__name__, query, context, (self.query_channels, self.context_channels))
        return half.called_map(query.to(context.dtype), context, self.attention)
