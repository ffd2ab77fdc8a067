"""Cross-attention in the skip connections of other libraries' U-Nets.

Each of these nets concatenates the up-sampled decoder map U and the encoder map E and passes both to a decoder block.
`wrap_skips` replaces that block with an `AttendedBlock`: the net's own code stays as it is, the block sees
cat([CSCA(U, E), U]) in the net's own order, and no width changes.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

# The base of convolutions of any rank, transposed or not, has no public name.
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from crossattn3d._checks import check_option
from crossattn3d.functional import Backend, ScoreNorm
from crossattn3d.ucanet import SKIPS, AttentionName

N = TypeVar("N", bound=nn.Module)


class AttendedBlock(nn.Module):
    """A decoder block that takes a concatenation, with cross-attention in front of it.

        block(cat([A, U])),   A = attention(U, E)
        or with a gate        A = E + g attention(U, E),   g = 0 at first

    Args:
        block: the block that takes the concatenation.
        attention: called with (query, context); its result is as wide as the context.
        channels: widths of the query and of the context.
        encoder_first: whether E comes first in the concatenation.
        concatenate: whether U stays beside A; otherwise the block takes A alone.
        zero_init: whether the attention is added to E through a gate that starts at zero.

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
        super().__init__()
        self.block = block
        self.attention = attention
        self.gate = nn.Parameter(next(attention.parameters()).new_zeros(())) if zero_init else None
        self.channels = channels
        self.encoder_first = encoder_first
        self.concatenate = concatenate

    def forward(self, joined: Float[Tensor, "b c *size"]) -> Float[Tensor, "b k *size_out"]:
        """Return the block's result for the concatenation `joined`."""
        order = -1 if self.encoder_first else 1
        query, context = torch.split(joined, list(self.channels[::order]), dim=1)[::order]
        if joined.ndim == 4:  # a 2D map is a volume of one slice
            attended = self.attention(query.unsqueeze(2), context.unsqueeze(2)).squeeze(2)
        else:
            attended = self.attention(query, context)
        if self.gate is not None:
            attended = context + self.gate * attended
        if self.concatenate:
            attended = torch.cat((query, attended)[::order], dim=1)
        result: Tensor = self.block(attended)
        return result

    def extra_repr(self) -> str:
        """Return the options that `print(net)` shows."""
        return f"channels={self.channels}, encoder_first={self.encoder_first}, concatenate={self.concatenate}"


def wrap_skips(
    net: N,
    *,
    attention: AttentionName = "csca",
    score_norm: ScoreNorm = "instance",
    slice_dim: int | None = None,
    backend: Backend = "auto",
    zero_init: bool = False,
    concatenate: bool = True,
) -> N:
    """Put cross-attention into the skips of another library's U-Net, in place; wrap it before making the optimizer.

        cat([E, U])  ->  cat([CSCA(U, E), U]), or CSCA(U, E) without `concatenate`

    Supports MONAI's BasicUNet, UNet, DynUNet and AttentionUnet (whose gated encoder maps are the context), and
    nnU-Net's PlainConvUNet and ResidualEncoderUNet, from dynamic-network-architectures.

    Args:
        net: one of these; subclasses are refused, since they may join their maps differently.
        attention: `csca`, `cca` or `sca`; a 2D net has no slices and takes only `cca`.
        score_norm: as in `CSCA`.
        slice_dim: the dimension that counts slices; if None, -1 for MONAI's nets and -3 for nnU-Net's, the order in
            which these libraries load volumes.
        backend: as in `CSCA`.
        zero_init: use E + g CSCA(U, E) instead of CSCA(U, E), with a scalar g = 0 per skip: the output does not change
            until g is trained.
        concatenate: False passes only the attention's result to the decoder blocks, as in UCA-Net: their first
            convolutions lose the weights of U, so the net has fewer parameters, must be retrained, and cannot be
            unwrapped.

    Returns:
        The net itself; `unwrap_skips` undoes the change.

    Raises:
        ValueError: the net is of another class, already wrapped, or not built as expected; an option is unknown or
            does not apply.

    Source: section 2.2 of the UCA-Net paper.

    Examples:
        >>> from monai.networks.nets import UNet
        >>> net = wrap_skips(UNet(3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,)), zero_init=True)
        >>> net(torch.zeros(1, 1, 8, 10, 6)).shape
        torch.Size([1, 2, 8, 10, 6])
    """
    who = "wrap_skips"
    check_option(who, "attention", attention, get_args(AttentionName))
    if any(isinstance(module, AttendedBlock) for module in net.modules()):
        raise ValueError(f"{who}: expected a net with its own skips; got one that is wrapped; call unwrap_skips first")
    if zero_init and not concatenate:
        raise ValueError(
            f"{who}: expected concatenate=True for zero_init=True; got False, and without the decoder maps the output "
            "cannot start as it was; use one of the two"
        )
    joins, encoder_first, default_slice_dim = _find_joins(who, net)
    dimensions = {_first(join.block).weight.ndim - 2 for join in joins}
    if not dimensions <= {2, 3} or (dimensions != {3} and attention != "cca"):
        raise ValueError(
            f"{who}: expected a 3D net, or a 2D net with attention='cca', as there are no slices; got a net of "
            f"{max(dimensions)} dimensions with attention={attention!r}"
        )
    residual = False if concatenate else None  # a concatenated U is not added as well
    slice_dim = default_slice_dim if slice_dim is None else slice_dim
    make = partial(SKIPS[attention], score_norm=score_norm, residual=residual, slice_dim=slice_dim, backend=backend)
    wrap = partial(AttendedBlock, encoder_first=encoder_first, concatenate=concatenate, zero_init=zero_init)
    for join in joins:
        first = _first(join.block)
        module = make(join.query, join.context).to(first.weight).train(join.block.training)
        wrapped = wrap(join.block, module, (join.query, join.context))
        wrapped.training = join.block.training
        if not concatenate:
            _narrow(first, slice(0, join.context) if encoder_first else slice(join.query, None))
        setattr(join.parent, join.name, wrapped)
    return net


def unwrap_skips(net: N) -> N:
    """Undo `wrap_skips`, in place: remove the attention and leave everything else as it is, trained or not.

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
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, AttendedBlock)
    ]
    if not found:
        raise ValueError(f"unwrap_skips: expected a net that wrap_skips has wrapped; got {type(net).__name__} without")
    if not all(child.concatenate for _, _, child in found):
        raise ValueError(
            "unwrap_skips: expected a net wrapped with concatenate=True; got one whose decoder blocks have lost the "
            "weights of the concatenation; create a new net"
        )
    for parent, name, child in found:
        setattr(parent, name, child.block)
    return net


class _Join(NamedTuple):
    """A block that takes a concatenation: child `name` of `parent`, and the widths of the two maps."""

    parent: nn.Module
    name: str
    query: int
    context: int

    @property
    def block(self) -> nn.Module:
        return self.parent.get_submodule(self.name)


def _basic_unet(net: nn.Module) -> Iterator[_Join]:
    for level in (4, 3, 2, 1):
        upcat = net.get_submodule(f"upcat_{level}")
        encoder = net.get_submodule("conv_0" if level == 1 else f"down_{level - 1}")
        context = _convolutions(encoder)[-1].out_channels
        yield _Join(upcat, "convs", _first(upcat.get_submodule("convs")).in_channels - context, context)


def _unet(net: nn.Module) -> Iterator[_Join]:
    # Each level is (down, skip around the level below, up); the lowest level is one convolution of another width.
    level, widths = net.get_submodule("model"), list(net.channels)  # type: ignore[arg-type]
    for i, width in enumerate(widths[:-1]):
        yield _Join(level, "2", widths[-1] if i == len(widths) - 2 else width, width)
        level = level.get_submodule("1.submodule")


def _attention_unet(net: nn.Module) -> Iterator[_Join]:
    for layer in net.modules():
        if type(layer).__name__ == "AttentionLayer":
            width = _first(layer.get_submodule("merge")).in_channels // 2
            yield _Join(layer, "merge", width, width)


def _dynunet(net: nn.Module) -> Iterator[_Join]:
    for block in net.get_submodule("upsamples").children():
        width = _first(block.get_submodule("transp_conv")).out_channels
        yield _Join(block, "conv_block", width, width)


def _nnunet(net: nn.Module) -> Iterator[_Join]:
    stages = net.get_submodule("decoder.stages")
    for (name, _), up in zip(stages.named_children(), net.get_submodule("decoder.transpconvs").children(), strict=True):
        width = _first(up).out_channels
        yield _Join(stages, name, width, width)


#: Joins of each known net, whether the encoder map comes first in them, and the dimension that counts slices. Nets are
#: known by package and class name, so that none of these packages has to be installed.
_KNOWN = {
    ("monai", "BasicUNet"): (_basic_unet, True, -1),
    ("monai", "UNet"): (_unet, True, -1),
    ("monai", "DynUNet"): (_dynunet, False, -1),
    ("monai", "AttentionUnet"): (_attention_unet, True, -1),
    ("dynamic_network_architectures", "PlainConvUNet"): (_nnunet, False, -3),
    ("dynamic_network_architectures", "ResidualEncoderUNet"): (_nnunet, False, -3),
}


def _find_joins(who: str, net: nn.Module) -> tuple[list[_Join], bool, int]:
    package, name = type(net).__module__.split(".")[0], type(net).__name__
    if (package, name) not in _KNOWN:
        known = ", ".join(name for _, name in _KNOWN)
        raise ValueError(
            f"{who}: expected a net of MONAI or nnU-Net, one of {known}; got {package}'s {name}; call it before DDP or "
            "torch.compile wrap the net, or change its forward to cat([csca(u, e), u]) yourself"
        )
    find, encoder_first, slice_dim = _KNOWN[package, name]
    try:
        joins = list(find(net))
        fits = bool(joins) and all(_first(j.block).in_channels == j.query + j.context for j in joins)
    except (AttributeError, IndexError):
        fits = False
    if not fits:
        raise ValueError(
            f"{who}: expected {package}'s {name} as its tested versions build it; got another structure; install the "
            "version in constraints.txt, or undo what was changed in the net"
        )
    return joins, encoder_first, slice_dim


def _convolutions(module: nn.Module) -> list[_ConvNd]:
    return [part for part in module.modules() if isinstance(part, _ConvNd)]


def _first(block: nn.Module) -> _ConvNd:
    """Return the convolution that takes the block's input; in all known blocks, the first one registered."""
    return _convolutions(block)[0]


def _narrow(convolution: _ConvNd, kept: slice) -> None:
    """Remove all input channels but `kept`, in place."""
    weight = convolution.weight.detach()
    weight = weight[kept] if isinstance(convolution, _ConvTransposeNd) else weight[:, kept]
    convolution.in_channels = len(range(convolution.in_channels)[kept])
    convolution.weight = nn.Parameter(weight.clone(), convolution.weight.requires_grad)
