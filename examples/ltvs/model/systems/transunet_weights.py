"""Google's weights of R50+ViT-B/16, trained on ImageNet-21k, for the encoder of `TransUnet`.

The file is `R50+ViT-B_16.npz` of `gs://vit_models/imagenet21k`, which users download themselves. It names arrays as JAX
does, kernels are (h, w, in, out), and heads have their own axis. TransUnet has no class token, and its positions are
resized.
"""

import lzma
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import cast

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from ltvs.model.systems.parts.positions import GRID, resized
from ltvs.model.systems.parts.resnet_v2 import Bottleneck
from ltvs.model.systems.parts.vit import Block
from ltvs.model.systems.transunet import WIDTH, TransUnet
from ltvs.runtime.errors import InputError, one_line

#: The file, for messages.
PUBLISHED = "R50+ViT-B_16.npz of imagenet21k"
POSITIONS = "Transformer/posembed_input/pos_embedding"
#: Tokens along each axis that the published positions are for; before them comes that of the class token.
PUBLISHED_GRID = (14, 14)
#: The largest array has 9 MiB; what would be larger than this is not unpacked.
_MOST_BYTES = 64 << 20
#: What damaged archives, and arrays in them, fail with; NumPy parses a header as Python's literals.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    TypeError,
    SyntaxError,
    TokenError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def load_published(net: TransUnet, path: Path) -> None:
    """Set the weights of the encoder to the published ones; the decoder's stay as they are.

    Arrays that the net has no use for are ignored.

    Args:
        net: with 1 or 3 input channels.
        path: `R50+ViT-B_16.npz`.

    Raises:
        InputError: the net has other input channels, the file is unreadable, or an array is missing, has another shape
            or type, or values that are not finite. The net is as it was, then.
    """
    if net.in_channels not in (1, 3):
        raise InputError(
            f"TransUnet: expected 1 or 3 input channels for {PUBLISHED}, which knows 3; got {net.in_channels}; "
            "train from random weights"
        )
    destinations = published_names(net)
    shapes = {name: tuple(view.shape) for name, view in destinations.items()}
    h, w = PUBLISHED_GRID
    arrays = _read(path, {**shapes, POSITIONS: (1, 1 + h * w, WIDTH)})
    positions = torch.from_numpy(arrays.pop(POSITIONS))[:, 1:].mT.reshape(1, WIDTH, h, w)
    with torch.no_grad():
        for name, array in arrays.items():
            destinations[name].copy_(torch.from_numpy(array))
        net.positions.map.copy_(resized(positions, GRID))


def published_names(net: TransUnet) -> dict[str, Tensor]:
    """Return the encoder's weights by their published names, as views that are shaped as JAX has them.

    All but the positions, whose published grid is another.

    Args:
        net: whose weights change with the views.

    Example:
        >>> names = published_names(TransUnet(1, 3))
        >>> names["conv_root/kernel"].shape
        torch.Size([7, 7, 3, 64])
        >>> names["Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"].shape
        torch.Size([768, 12, 64])
    """
    root, root_norm, _ = net.stem.root
    names = {"conv_root/kernel": _kernel(root), **_norm("gn_root", root_norm)}
    for i, stage in enumerate(net.stem.stages, start=1):
        for j, unit in enumerate(cast("nn.Sequential", stage), start=1):
            of_unit = _of_bottleneck(cast("Bottleneck", unit))
            names |= {f"block{i}/unit{j}/{name}": view for name, view in of_unit.items()}
    names |= {"embedding/kernel": _kernel(net.embedding), "embedding/bias": _bias(net.embedding)}
    *blocks, norm = net.transformer
    for i, block in enumerate(blocks):
        of_block = _of_block(cast("Block", block))
        names |= {f"Transformer/encoderblock_{i}/{name}": view for name, view in of_block.items()}
    return names | _norm("Transformer/encoder_norm", norm)


def _weight(layer: nn.Module) -> Tensor:
    return cast("Tensor", layer.weight).detach()


def _bias(layer: nn.Module) -> Tensor:
    return cast("Tensor", layer.bias).detach()


def _kernel(conv: nn.Module) -> Tensor:
    return _weight(conv).permute(2, 3, 1, 0)


def _norm(name: str, norm: nn.Module) -> dict[str, Tensor]:
    return {f"{name}/scale": _weight(norm), f"{name}/bias": _bias(norm)}


def _of_bottleneck(unit: Bottleneck) -> dict[str, Tensor]:
    names = {f"conv{i}/kernel": _kernel(conv) for i, conv in enumerate((unit.conv1, unit.conv2, unit.conv3), start=1)}
    for i, norm in enumerate((unit.norm1, unit.norm2, unit.norm3), start=1):
        names |= _norm(f"gn{i}", norm)
    if unit.projection is not None:
        names |= {"conv_proj/kernel": _kernel(unit.projection[0]), **_norm("gn_proj", unit.projection[1])}
    return names


def _of_block(block: Block) -> dict[str, Tensor]:
    names = {**_norm("LayerNorm_0", block.norm1), **_norm("LayerNorm_2", block.norm2)}
    attention, heads = "MultiHeadDotProductAttention_1", block.attention.heads
    together, out = block.attention.query_key_value, block.attention.out
    each = out.in_features // heads
    parts = zip(("query", "key", "value"), _weight(together).chunk(3), _bias(together).chunk(3), strict=True)
    for part, weight, bias in parts:
        names[f"{attention}/{part}/kernel"] = weight.T.view(-1, heads, each)
        names[f"{attention}/{part}/bias"] = bias.view(heads, each)
    names[f"{attention}/out/kernel"] = _weight(out).T.view(heads, each, -1)
    names[f"{attention}/out/bias"] = _bias(out)
    for i, linear in enumerate((block.mlp[0], block.mlp[2])):
        names[f"MlpBlock_3/Dense_{i}/kernel"] = _weight(linear).T
        names[f"MlpBlock_3/Dense_{i}/bias"] = _bias(linear)
    return names


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, ndarray]:
    """Return the arrays of these names and shapes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _array(path, archive, name, shape) for name, shape in shapes.items()}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: expected {PUBLISHED}; got what cannot be read ({one_line(error)}); download it again"
        ) from error


def _array(path: Path, archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> ndarray:
    def refusal(got: str) -> InputError:
        return InputError(
            f"{path}: expected {PUBLISHED}, whose {name} is float32 of shape {shape}; got {got}; download it again"
        )

    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise refusal("none") from None
    if entry.file_size > _MOST_BYTES:
        raise refusal(f"{entry.file_size} bytes")
    with archive.open(entry) as file:
        array: ndarray = np.lib.format.read_array(file, allow_pickle=False)
    # Scales and biases of group norms are (1, 1, 1, c) in published files.
    if array.shape == (1, 1, 1, *shape):
        array = array.reshape(shape)
    if array.shape != shape or array.dtype != np.float32:
        raise refusal(f"{array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise refusal("values that are not finite")
    return array
