"""Checks of the maps and projections of an attention; every error says what was expected, what came and what helps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossattn3d._checks.options import check_options, check_temperature
from crossattn3d.kernels.modes import untraced
from crossattn3d.kernels.parameters import Attention, ChannelParameters, GateParameters, SliceParameters, StaticMixture


def check_arguments(
    who: str, query: Tensor, context: Tensor, parts: Sequence[ChannelParameters | SliceParameters], attention: Attention
) -> None:
    """Raise ValueError, naming `who`, unless the maps, the projections and the options fit together."""
    check_options(who, attention)
    with untraced():
        _check_sizes(who, query, context, parts, attention)


def check_gate(
    who: str, query: Tensor, context: Tensor, mixture: Tensor, gate: GateParameters, attention: Attention
) -> None:
    """Raise ValueError, naming `who`, unless the maps, the gate and the options fit together."""
    check_options(who, attention)
    with untraced():
        _check_maps(who, query, context)
        _check_maps(who, query, mixture, "mixture")
        for name, parameter in gate._asdict().items():
            _check_parameter(who, name, parameter, query)
        for name, x, weight in (("query", query, gate.query_weight), ("context", context, gate.context_weight)):
            _check_width(who, name, x, weight.shape[1])
        widths = [len(gate.query_weight), len(gate.context_weight), len(gate.bias), mixture.shape[1]]
        if len(set(widths)) != 1:
            raise ValueError(
                f"{who}: expected a gate for each of the mixture's {widths[3]} channels; got query_weight, "
                f"context_weight and bias of {widths[:3]} rows; give them as many rows"
            )
        _check_residual(who, query, attention, widths[3])


def check_inputs(who: str, query: Tensor, context: Tensor, channels: tuple[int, int]) -> None:
    """Raise ValueError, naming `who`, unless the maps fit each other and have as many channels as expected."""
    if isinstance(query, torch.fx.Proxy):  # which has no sizes yet
        return
    with untraced():
        _check_maps(who, query, context)
        for name, x, expected in zip(("query", "context"), (query, context), channels, strict=True):
            _check_width(who, name, x, expected)


def check_returned(who: str, name: str, x: Tensor, context: Tensor, channels: int) -> None:
    """Raise ValueError unless part `name` of `who` returned a map of `channels` channels, as large as `context`."""
    if isinstance(x, torch.fx.Proxy):  # which has no sizes yet
        return
    with untraced():
        expected, got = (context.shape[0], channels, *context.shape[2:]), getattr(x, "shape", None)
        if got != expected:
            shown = tuple(got) if got is not None else type(x).__name__
            raise ValueError(
                f"{who}: expected {name} to return {expected}; got {shown}; mend the hook or the layer that returns it"
            )


def _check_sizes(
    who: str, query: Tensor, context: Tensor, parts: Sequence[ChannelParameters | SliceParameters], attention: Attention
) -> None:
    _check_maps(who, query, context)
    widths = [_check_projections(who, query, context, part, attention) for part in parts]
    if len(set(widths)) != 1:
        raise ValueError(f"{who}: expected both parts to give as many channels; got {widths[0]} and {widths[1]}")
    _check_residual(who, query, attention, widths[0])


def _check_residual(who: str, query: Tensor, attention: Attention, width: int) -> None:
    if attention.residual and query.shape[1] != width:
        raise ValueError(
            f"{who}: expected a query with the {width} channels of the output, for residual=True; "
            f"got {query.shape[1]}; use residual=False or equal widths"
        )


def check_part(
    who: str, name: str, part: object, kind: type[ChannelParameters | SliceParameters | GateParameters | StaticMixture]
) -> None:
    """Raise ValueError unless the projections are of the kind that the attention takes."""
    if not isinstance(part, kind):
        raise ValueError(
            f"{who}: expected {name} as {kind.__name__}; got {type(part).__name__}; fill in a {kind.__name__}"
        )


def _check_maps(who: str, query: Tensor, context: Tensor, other: str = "context") -> None:
    for name, x in (("query", query), (other, context)):
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{who}: expected {name} as a tensor, (batch, channels, depth, height, width); got "
                f"{type(x).__name__}; convert it with torch.as_tensor, or pass query and context one by one"
            )
        if x.ndim != 5:
            raise ValueError(
                f"{who}: expected {name} as (batch, channels, depth, height, width); got {x.ndim} dimensions, "
                f"{tuple(x.shape)}; add a batch or depth dimension with unsqueeze"
            )
        if not x.is_floating_point():
            raise ValueError(f"{who}: expected {name} of floating-point numbers; got {x.dtype}; convert it to float32")
    if query.shape[0] != context.shape[0] or query.shape[2:] != context.shape[2:]:
        resized = "query to the context" if other == "context" else f"{other} to the query"
        raise ValueError(
            f"{who}: expected query and {other} of one batch and spatial size; got {tuple(query.shape)} and "
            f"{tuple(context.shape)}; resize the {resized} first"
        )
    _check_device(who, other, context, query)


def _check_device(who: str, name: str, x: Tensor, query: Tensor) -> None:
    # Kernels take addresses, which mean nothing on another device.
    if x.device != query.device:
        raise ValueError(
            f"{who}: expected {name} on {query.device}, as the query; got it on {x.device}; move one with .to()"
        )


def _check_width(who: str, name: str, x: Tensor, channels: int) -> None:
    if x.shape[1] != channels:
        raise ValueError(
            f"{who}: expected a {name} with {channels} channels; got {x.shape[1]}, {tuple(x.shape)}; "
            f"make the layer with {name}_channels={x.shape[1]}"
        )


def _check_parameter(who: str, name: str, parameter: object, query: Tensor) -> None:
    if not isinstance(parameter, Tensor) or not parameter.is_floating_point():
        got = parameter.dtype if isinstance(parameter, Tensor) else type(parameter).__name__
        raise ValueError(f"{who}: expected {name} as a tensor of floating-point numbers; got {got}; convert it")
    _check_device(who, name, parameter, query)
    if parameter.ndim != (dimensions := 2 if "weight" in name else 0 if name == "temperature" else 1):
        raise ValueError(
            f"{who}: expected {name} with {dimensions} dimensions; got {tuple(parameter.shape)}; flatten or reshape it"
        )


def _check_projections(
    who: str, query: Tensor, context: Tensor, part: ChannelParameters | SliceParameters, attention: Attention
) -> int:
    """Return the number of output channels; raise ValueError unless the projections fit the maps."""
    for name, parameter in part._asdict().items():
        if name != "static" and (parameter is not None or name != "temperature"):
            _check_parameter(who, name, parameter, query)
    reads = (("query", query, part.q_weight), ("context", context, part.k_weight), ("context", context, part.v_weight))
    for name, x, weight in reads:
        _check_width(who, name, x, weight.shape[1])
    inner = [weight.shape[0] for _, _, weight in reads]
    if len(set(inner)) != 1 or (isinstance(part, SliceParameters) and {*inner, part.out_weight.shape[1]} != {1}):
        raise ValueError(
            f"{who}: expected queries, keys and values of one width, which is 1 for slices; got {inner}; "
            "give q_weight, k_weight and v_weight as many rows"
        )
    tensors = part._asdict()
    for name in ("q", "k", "v", *(["out"] if isinstance(part, SliceParameters) else [])):
        rows, biases = len(tensors[f"{name}_weight"]), len(tensors[f"{name}_bias"])
        if rows != biases:
            raise ValueError(f"{who}: expected {name}_bias with {rows} values, a row of its weight each; got {biases}")
    check_temperature(who, attention, part.temperature)
    if isinstance(part, ChannelParameters) and part.static is not None:
        _check_static(who, query, context, part.static, len(part.v_weight))
    return len(part.v_weight if isinstance(part, ChannelParameters) else part.out_weight)


def _check_static(who: str, query: Tensor, context: Tensor, static: object, channels: int) -> None:
    """Raise ValueError unless a static mixture gives as many channels as the attention that corrects it."""
    check_part(who, "static", static, StaticMixture)
    assert isinstance(static, StaticMixture), "just checked"
    for name, parameter in static._asdict().items():
        _check_parameter(who, f"static.{name}", parameter, query)
    _check_width(who, "context", context, static.weight.shape[1])
    if (rows := [len(parameter) for parameter in static]) != [channels] * 3:
        raise ValueError(
            f"{who}: expected a static mixture of the {channels} channels of the values; got gain, weight and bias of "
            f"{rows} rows; give them as many rows"
        )
