"""Putting cross-attention into the skips of another library's net, and taking it out again."""

from functools import partial
from typing import TypeVar, get_args

from torch import nn

from crossattn3d._checks.nets import check_net
from crossattn3d._checks.options import check_flag, check_option, check_options
from crossattn3d.dropin.blocks import AttendedBlock, AttendedMap, LoneBlock
from crossattn3d.dropin.nets import KNOWN, Join, KnownNet, convolutions, identity, narrow, readers
from crossattn3d.dropin.refusals import PAGE, refusal
from crossattn3d.functional import Attention, Backend, ScoreNorm
from crossattn3d.ucanet import SKIPS, AttentionName

Net = TypeVar("Net", bound=nn.Module)

_WRAPPERS = (AttendedBlock, AttendedMap, LoneBlock)


def wrap_skips(
    net: Net,
    *,
    attention: AttentionName = "csca",
    score_norm: ScoreNorm = "instance",
    slice_dim: int | None = None,
    backend: Backend = "auto",
    gated: bool = False,
    zero_init: bool = False,
    concatenate: bool = True,
) -> Net:
    """Put cross-attention into the skips of another library's U-Net, in place.

        cat([E, U])  ->  cat([CSCA(U, E), U])
        cat([E, U])  ->  CSCA(U, E)              without `concatenate`
        U + E        ->  U + CSCA(U, E)

    The nets are MONAI's AHNet, AttentionUnet (whose gated encoder maps are the context), BasicUNet, BasicUNetPlusPlus,
    CheckpointUNet, DynUNet, FlexibleUNet, MedNeXt, SegResNet, SegResNetVAE, SegResNetDS, SegResNetDS2, SwinUNETR, UNet,
    UNETR and VNet, and nnU-Net's PlainConvUNet, ResidualEncoderUNet and ResidualUNet from
    dynamic-network-architectures. Modules take the place of a net's blocks, and its own code stays as it is. Wrap a net
    before you make the optimizer.

    Args:
        net: one of these nets. A subclass is refused, since it may join its maps in another way.
        attention: the kind of attention. A 2D net has no slices and takes only `cca`.
        score_norm: how scores are normalized before the softmax.
        slice_dim: the dimension that counts slices. None takes the order in which the library loads volumes: -1 for
            MONAI's nets, -3 for nnU-Net's.
        backend: the code that computes the attention.
        gated: whether to use a static mixture and a gate, as in `CSCA`.
        zero_init: whether E + g CSCA(U, E) takes the place of CSCA(U, E), with a scalar g = 0 for each skip. The output
            does not change until g is trained.
        concatenate: whether U stays beside the attention's result. With False, decoder blocks get that result alone, as
            in UCA-Net. Their first convolutions lose the weights of U, so the net has fewer parameters, must be
            retrained, and cannot be unwrapped. Nets that add their maps and VNet take True only.

    Returns:
        The net itself. `unwrap_skips` undoes the change.

    Raises:
        ValueError: the net is of another class, is wrapped already, or is not built as expected, or an option is
            unknown or does not apply.

    Source: section 2.2 of the UCA-Net paper.

    Examples:
        >>> import torch
        >>> from monai.networks.nets import UNet
        >>> net = wrap_skips(UNet(3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,)), zero_init=True)
        >>> net(torch.zeros(1, 1, 8, 10, 6)).shape
        torch.Size([1, 2, 8, 10, 6])
    """
    who = "wrap_skips"
    check_net(who, net)
    check_option(who, "attention", attention, get_args(AttentionName))
    check_flag(who, "gated", gated)
    check_flag(who, "zero_init", zero_init)
    check_flag(who, "concatenate", concatenate)
    if any(isinstance(module, _WRAPPERS) for module in net.modules()):
        raise ValueError(f"{who}: expected a net with its own skips; got one that is wrapped; call unwrap_skips first")
    known = KNOWN.get(identity(type(net)))
    if known is None:
        raise ValueError(refusal(who, net))
    slice_dim = known.slice_dim if slice_dim is None else slice_dim
    check_options(who, Attention(score_norm, False, slice_dim, backend))
    _check_choices(who, net, known, attention, zero_init, concatenate)
    joins = _joins(who, net, known)
    if not concatenate:
        _check_weights(who, net, joins)
    # A decoder map that stays beside the result, or that the net adds, is not added as well.
    residual = False if concatenate else None
    make = partial(
        SKIPS[attention],
        score_norm=score_norm,
        residual=residual,
        slice_dim=slice_dim,
        backend=backend,
        gated=gated,
    )
    # All are made before the first is put in its place, so that an error leaves the net as it was.
    wrapped = [_attended(join, make(join.query, join.context), known, concatenate, zero_init) for join in joins]
    for join, child in zip(joins, wrapped, strict=True):
        for convolution in [] if concatenate else readers(join.block):
            narrow(convolution, slice(0, join.context) if known.encoder_first else slice(join.query, None))
        setattr(join.parent, join.name, child)
        if join.alone is not None:
            parent, name = join.alone
            setattr(parent, name, LoneBlock(parent.get_submodule(name)))
    return net


def unwrap_skips(net: Net) -> Net:
    """Undo `wrap_skips` in place: remove the attention and leave everything else as it is, trained or not.

    Args:
        net: a wrapped net, or a module that contains wrapped nets.

    Returns:
        The net itself.

    Raises:
        ValueError: no skip is wrapped, or the net was wrapped with `concatenate=False`.

    Examples:
        >>> from monai.networks.nets import UNet
        >>> net = UNet(3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
        >>> unwrap_skips(wrap_skips(net)) is net
        True
    """
    check_net("unwrap_skips", net)
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, _WRAPPERS)
    ]
    if not found:
        raise ValueError(f"unwrap_skips: expected a net that wrap_skips has wrapped; got {type(net).__name__} without")
    if any(isinstance(child, AttendedBlock) and not child.concatenate for _, _, child in found):
        raise ValueError(
            "unwrap_skips: expected a net wrapped with concatenate=True; got one whose decoder blocks have lost the "
            "weights of the concatenation; create a new net"
        )
    for parent, name, child in found:
        setattr(parent, name, child.get_submodule("block"))
    return net


def _attended(
    join: Join, attention: nn.Module, known: KnownNet, concatenate: bool, zero_init: bool
) -> AttendedBlock | AttendedMap:
    """Return what takes the place of a child, on its device, in its precision and mode."""
    block = join.block
    attention.to(join.weight).train(block.training)
    if not join.takes_both:
        return AttendedMap(block, attention, zero_init=zero_init)
    order = {"encoder_first": known.encoder_first, "concatenate": concatenate}
    return AttendedBlock(block, attention, (join.query, join.context), **order, zero_init=zero_init)


def _check_choices(
    who: str, net: nn.Module, known: KnownNet, attention: AttentionName, zero_init: bool, concatenate: bool
) -> None:
    """Raise ValueError unless the net takes the attention, and its maps joined in this way."""
    name = type(net).__name__
    if zero_init and not concatenate:
        raise ValueError(
            f"{who}: expected concatenate=True for zero_init=True; got False, and without the decoder maps the output "
            "cannot start as it was; use one of the two"
        )
    if not concatenate and known.keeps_decoder_maps:
        raise ValueError(
            f"{who}: expected concatenate=True for {name}, which {known.keeps_decoder_maps}; got False; leave it at "
            f"True; {PAGE} says what each net does"
        )
    dimensions = {part.weight.ndim - 2 for part in convolutions(net)}
    if dimensions and max(dimensions) != 3 and (max(dimensions), attention) != (2, "cca"):
        raise ValueError(
            f"{who}: expected a 3D net, or a 2D net with attention='cca', as there are no slices; got a {name} of "
            f"{max(dimensions)} dimensions with attention={attention!r}; choose one of these"
        )


def _check_weights(who: str, net: nn.Module, joins: list[Join]) -> None:
    """Raise ValueError unless the convolutions that are to lose weights hold them themselves."""
    for convolution in (part for join in joins for part in readers(join.block)):
        if "weight" not in convolution._parameters:
            raise ValueError(
                f"{who}: expected a {type(net).__name__} with plain weights for concatenate=False, which removes some; "
                f"got a {type(convolution).__name__} whose weight is computed; undo its parametrization or pruning"
            )


def _joins(who: str, net: nn.Module, known: KnownNet) -> list[Join]:
    """Return where the net joins its maps; raise ValueError unless it is as its library builds it."""
    package, name = identity(type(net))
    try:
        joins = list(known.find(net))
        fits = all(readers(j.block)[0].in_channels == j.query + j.context for j in joins if j.takes_both)
    except (AttributeError, IndexError, TypeError, ValueError):
        joins, fits = [], False
    if not fits:
        raise ValueError(
            f"{who}: expected {package}'s {name} as its tested versions build it; got another structure; install the "
            "version in constraints.txt, or undo what was changed in the net"
        )
    if not joins:
        raise ValueError(f"{who}: expected a {name} of two or more levels; got one without skips; give it more levels")
    return joins
