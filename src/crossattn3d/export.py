"""Writing a net as an ONNX file of standard operators. Needs the extra `onnx`."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from crossattn3d._checks.nets import check_net, whole_number
from crossattn3d._extras import extra_module
from crossattn3d.unet import UNet3d

#: Version of the ONNX operator set.
OPSET = 18


def export_onnx(net: nn.Module, path: str | Path, *, size: Sequence[int] | None = None) -> None:
    """Write a net as an ONNX file of standard operators, in float32.

    The input is `image`, (b, c, d, h, w), the output `logits`. The batch and the sizes stay dynamic. Each of d, h and w
    must be a multiple of the net's total stride, 8 by default. Pad smaller volumes, as sliding windows do. A net of
    another class is written for one size.

    Args:
        net: a `UNet3d` or `UCANet` in eval mode. With `size`, also any other net from a map to logits that has the
            attribute `in_channels`. `crossattn3d.folding.fold_batch_norm` makes a net slightly faster first.
        path: the file to write, `.onnx`.
        size: the only (d, h, w) in voxels that the file will take. None for all sizes.

    Raises:
        ValueError: the net is in training mode, is not in float32, returns logits of several levels, or needs a size.
        ImportError: onnx or onnxscript is not installed.

    Examples:
        >>> import tempfile
        >>> from crossattn3d import UCANet
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
        ...     export_onnx(UCANet(1, 3).eval(), f"{folder}/net.onnx")
    """
    who, path = "export_onnx", Path(path)
    check_net(who, net)
    if not isinstance(net, UNet3d):
        if not hasattr(net, "in_channels"):
            raise ValueError(
                f"{who}: expected a UNet3d, a UCANet or a net with in_channels; got {type(net).__name__}; "
                "use torch.onnx.export"
            )
        if size is None:
            raise ValueError(
                f"{who}: expected a UNet3d or a UCANet, or a size; got {type(net).__name__}; give size=(d, h, w)"
            )
    if size is not None and not _is_size(size):
        raise ValueError(f"{who}: expected size as 3 whole numbers of 1 or more; got {size}; give (d, h, w)")
    if any(module.training for module in net.modules()):
        raise ValueError(f"{who}: expected a net in eval mode; got one in training mode; call net.eval()")
    weight = next(net.parameters())
    if weight.dtype != torch.float32:
        raise ValueError(f"{who}: expected a net in float32; got {weight.dtype}; call net.float()")
    if isinstance(net, UNet3d) and net.deep_supervision:
        raise ValueError(f"{who}: expected deep supervision to be off; got a net with it; net.deep_supervision = False")
    extra_module(who, "onnxscript", "onnx")
    onnx = extra_module(who, "onnx", "onnx")
    dynamic = {0: torch.export.Dim("batch")}
    if size is None:
        # Sizes that differ, and a batch of more than one, so that none is taken for a constant or for another.
        strides = cast("UNet3d", net).total_stride
        size = [n * k for n, k in zip(strides, (2, 3, 4), strict=True)]
        for axis, (name, n) in enumerate(zip("dhw", strides, strict=True), 2):
            dynamic[axis] = n * torch.export.Dim(name) if n > 1 else torch.export.Dim(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            (torch.zeros(2, cast("int", net.in_channels), *size, device=weight.device),),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    # The checker reads no file whose name is not in UTF-8.
    onnx.checker.check_model(program.model_proto, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        program.save(str(temporary))
        temporary.replace(path)


def _is_size(size: object) -> bool:
    return isinstance(size, Sequence) and len(size) == 3 and None not in map(whole_number, size)
