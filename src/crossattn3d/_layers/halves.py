"""The learnable layers of the channel-wise and of the slice-wise half of an attention.

The layers are ordinary convolutions, but a kernel takes their weights and none of them is called. That is the same
until somebody hooks, wraps, parametrizes, patches or replaces one: then the half calls its layers one by one and
computes the equations from what they return, with all that was done to them, at the memory of three more maps.
"""

from typing import Any

import torch
from torch import Tensor, nn

from crossattn3d._checks.maps import check_returned
from crossattn3d._checks.options import check_temperature
from crossattn3d._layers.convolutions import ONES, ZEROS
from crossattn3d._layers.hooks import is_plain
from crossattn3d.functional import Attention, ChannelParameters, ScoreNorm, SliceParameters, StaticMixture
from crossattn3d.kernels import reference
from crossattn3d.kernels.modes import without_autocast


class Half(nn.Module):
    """1x1x1 convolutions to queries, keys and values, and the temperature of `cosine`."""

    def add_layers(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers."""
        self._add(query_channels, context_channels, context_channels, score_norm)

    def _add(self, query_channels: int, context_channels: int, width: int, score_norm: ScoreNorm) -> None:
        self.to_query = nn.Conv3d(query_channels, width, 1)
        self.to_key = nn.Conv3d(context_channels, width, 1)
        self.to_value = nn.Conv3d(context_channels, width, 1)
        self.temperature = nn.Parameter(torch.ones(())) if score_norm == "cosine" else None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Attention._fields:
            raise ValueError(
                f"{type(self).__name__}: expected {name} to be set on the CSCA, which holds the options of both "
                f"halves; got {value!r}; use csca.{name} = {value!r}"
            )
        super().__setattr__(name, value)

    def has_plain_layers(self) -> bool:
        """Return whether the weights alone say what the layers return."""
        return all(is_plain_projection(layer) for name, layer in self.named_children() if name != "gate")

    def _project(self, query: Tensor, context: Tensor, attention: Attention, width: int) -> tuple[Tensor, ...]:
        """Return queries, keys and values, as the layers return them."""
        who = type(self).__name__
        check_temperature(who, attention, self.temperature)
        projected = self.to_query(query), self.to_key(context), self.to_value(context)
        for name, x in zip(("to_query", "to_key", "to_value"), projected, strict=True):
            check_returned(who, name, x, context, width)
        return projected


class ChannelHalf(Half):
    """The layers of channel-wise cross-attention."""

    def add_layers(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers, without those of a static mixture."""
        super().add_layers(query_channels, context_channels, score_norm)
        self.to_static: nn.Conv3d | None = None
        self.gain: nn.Parameter | None = None

    def add_static_mixture(self, context_channels: int) -> None:
        """Make the layers of a static mixture, which attention at first does not correct."""
        self.to_static = nn.Conv3d(context_channels, context_channels, 1)
        self.gain = nn.Parameter(torch.zeros(context_channels))

    def parameters_of_attention(self) -> ChannelParameters:
        """Return the projections as matrices, as `functional.channel_cross_attention` takes them."""
        q, q_bias, k, k_bias, v, v_bias = _weights_and_biases(self.to_query, self.to_key, self.to_value)
        static = None
        if self.to_static is not None and self.gain is not None:
            static = StaticMixture(self.gain, *_weights_and_biases(self.to_static))
        return ChannelParameters(q, q_bias, k, k_bias, v, v_bias, self.temperature, static)

    def call_layers(self, query: Tensor, context: Tensor, attention: Attention) -> Tensor:
        """Return the attention's result, without the residual, from layers that are called."""
        *_, v = projected = self._project(query, context, attention, context.shape[1])
        m = self._map(projected, attention)
        if self.to_static is None or self.gain is None:
            return _mix_channels(m, v)
        fixed: Tensor = self.to_static(context)
        check_returned(type(self).__name__, "to_static", fixed, context, context.shape[1])
        return fixed + _mix_channels(self.gain[:, None] * (m - 1 / m.shape[-1]), v)

    #: For the CSCA that it belongs to, which holds the options.
    forward = call_layers

    def called_map(self, query: Tensor, context: Tensor, attention: Attention) -> Tensor:
        """Return the attention map, from layers that are called."""
        return self._map(self._project(query, context, attention, context.shape[1]), attention)

    def _map(self, projected: tuple[Tensor, ...], attention: Attention) -> Tensor:
        q, k, _ = projected
        return _attention_map(q.flatten(2), k.flatten(2), self.temperature, attention.score_norm)


class SliceHalf(Half):
    """The layers of slice-wise cross-attention, to one channel and back."""

    def add_layers(self, query_channels: int, context_channels: int, score_norm: ScoreNorm) -> None:
        """Make the layers."""
        self._add(query_channels, context_channels, 1, score_norm)
        self.to_out = nn.Conv3d(1, context_channels, 1)

    def parameters_of_attention(self) -> SliceParameters:
        """Return the projections as matrices, as `functional.slice_cross_attention` takes them."""
        tensors = _weights_and_biases(self.to_query, self.to_key, self.to_value, self.to_out)
        return SliceParameters(*tensors)._replace(temperature=self.temperature)

    def call_layers(self, query: Tensor, context: Tensor, attention: Attention) -> Tensor:
        """Return the attention's result, without the residual, from layers that are called."""
        *_, v = projected = self._project(query, context, attention, 1)
        out: Tensor = self.to_out(_mix_slices(self._map(projected, attention), v, attention.slice_dim))
        check_returned(type(self).__name__, "to_out", out, context, context.shape[1])
        return out

    #: For the CSCA that it belongs to, which holds the options.
    forward = call_layers

    def called_map(self, query: Tensor, context: Tensor, attention: Attention) -> Tensor:
        """Return the attention map, from layers that are called."""
        return self._map(self._project(query, context, attention, 1), attention)

    def _map(self, projected: tuple[Tensor, ...], attention: Attention) -> Tensor:
        q, k = (reference.slices_first(x, attention.slice_dim).flatten(2) for x in projected[:2])
        return _attention_map(q, k, self.temperature, attention.score_norm)


def is_plain_projection(layer: nn.Module) -> bool:
    """Return whether a layer is a 1x1x1 convolution and nothing else."""
    if not isinstance(layer, nn.Conv3d) or not is_plain(layer, nn.Conv3d):
        return False
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == (ONES, ONES, ZEROS, 1)


def _weights_and_biases(*projections: nn.Conv3d) -> list[Tensor]:
    """Return the weight matrix and the bias, 0 without one, of each 1x1x1 convolution, in turn."""
    tensors: list[Tensor] = []
    for projection in projections:
        weight, bias = projection.weight.flatten(1), projection.bias
        tensors += [weight, weight.new_zeros(projection.out_channels) if bias is None else bias]
    return tensors


def _attention_map(q: Tensor, k: Tensor, temperature: Tensor | None, score_norm: ScoreNorm) -> Tensor:
    with without_autocast(q):
        return reference.attention_map(q, k, temperature, score_norm)


def _mix_channels(m: Tensor, v: Tensor) -> Tensor:
    with without_autocast(v):
        return reference.mix_channels(m, v)


def _mix_slices(m: Tensor, v: Tensor, slice_dim: int) -> Tensor:
    with without_autocast(v):
        return reference.mix_slices(m, v, slice_dim)


# In the programs of `torch.fx.symbolic_trace`, each call is one node.
for _name in ("_attention_map", "_mix_channels", "_mix_slices"):
    torch.fx.wrap(_name)
