"""Convolutions that compute themselves in a faster way on CPUs without AVX-512, with the results of PyTorch's own.

There, in float32, PyTorch leaves small maps to a slow kernel of its own and the rest to oneDNN, whose gradients of the
weights take longer than its other two passes together. Here oneDNN convolves every map, which also keeps the memory
format of a net for a single channel, and gradients of weights are matrix products. Elsewhere the layers are PyTorch's.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossattn3d._checks.nets import Triple
from crossattn3d._layers.one_slice import is_one_bfloat16_slice, middle_of
from crossattn3d._layers.weight_gradient import correlate
from crossattn3d.kernels.modes import is_dispatched, is_recorded, is_transformed, is_transforming

ONES, ZEROS = (1, 1, 1), (0, 0, 0)
#: Multiplications below which the calls for the products take longer than they save.
FEWEST_PRODUCTS = 2**26


class Conv3d(nn.Conv3d):
    """nn.Conv3d with stride 1 and padding that keeps the size.

    Args:
        in_channels: width of the input.
        out_channels: width of the result.
        kernel_size: voxels along (d, h, w), odd.

    Examples:
        >>> Conv3d(4, 8, (3, 3, 3))(torch.zeros(1, 4, 2, 5, 7)).shape
        torch.Size([1, 8, 2, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Triple) -> None:
        d, h, w = kernel_size
        super().__init__(in_channels, out_channels, kernel_size, padding=(d // 2, h // 2, w // 2))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Convolve."""
        if not (self._is_as_made() and _is_quick(input, self.weight, self.bias)):
            return super().forward(input)
        if torch.is_grad_enabled():
            return cast("Tensor", _Convolution.apply(input, self.weight, self.bias))  # type: ignore[no-untyped-call]
        return _convolve(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        if not (is_one_bfloat16_slice(input) and self._has_geometry()):
            return cast("Tensor", super()._conv_forward(input, weight, bias))
        weight, padding = middle_of(weight, _padding(self.kernel_size))
        return F.conv3d(input, weight, bias, padding=padding)

    def _is_as_made(self) -> bool:
        """Return whether nobody changed the layer; PyTorch's own `forward` goes by all attributes."""
        return self._has_geometry() and type(self) is Conv3d and "_conv_forward" not in self.__dict__

    def _has_geometry(self) -> bool:
        """Return whether the layer is still one that keeps the size."""
        geometry = self.stride, self.padding, self.dilation, self.groups, self.padding_mode
        return geometry == (ONES, _padding(self.kernel_size), ONES, 1, "zeros")


class ConvTranspose3d(nn.ConvTranspose3d):
    """nn.ConvTranspose3d whose gradients of the weights are matrix products, too."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:  # noqa: A002 - torch's name
        """Convolve."""
        # A parametrized layer, whose class is another one, computes its weight whenever it is read.
        as_made = type(self) is ConvTranspose3d and (self.dilation, self.groups) == (ONES, 1) and output_size is None
        if as_made and torch.is_grad_enabled() and _is_quick(input, self.weight, self.bias):
            shape = self.stride, self.padding, self.output_padding
            result = _Transposed.apply(input, self.weight, self.bias, *shape)  # type: ignore[no-untyped-call]
            return cast("Tensor", result)
        return super().forward(input, output_size)  # type: ignore[arg-type]


class _Convolution(torch.autograd.Function):
    """Convolution of stride 1 that keeps the size, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        geometry = ONES, _padding(weight.shape[2:]), ONES, False, ZEROS, 1
        if _is_looked_into(grad):
            return _pytorch_gradients(grad, x, weight, geometry, ctx.needs_input_grad)
        dx = _convolve(grad, weight.flip(2, 3, 4).transpose(0, 1), None) if of_x else None
        if grad.numel() * weight[0].numel() < FEWEST_PRODUCTS:
            return dx, *_pytorch_gradients(grad, x, weight, geometry, (False, of_weight, of_bias))[1:]
        dw = correlate(x, grad, weight.shape[2:], ONES, _padding(weight.shape[2:])) if of_weight else None
        return dx, dw, grad.sum((0, 2, 3, 4)) if of_bias else None


class _Transposed(torch.autograd.Function):
    """Transposed convolution and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Triple, padding: Triple, rest: Triple
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, ONES, True, rest, 1
        return torch.convolution(x, weight, bias, *ctx.geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        if _is_looked_into(grad):
            return *_pytorch_gradients(grad, x, weight, ctx.geometry, (of_x, of_weight, of_bias)), None, None, None
        stride, padding, *_ = ctx.geometry
        # For contiguous maps, whose slices have to be rearranged, oneDNN is as fast.
        by_hand = (
            grad.is_contiguous(memory_format=torch.channels_last_3d)
            and x.numel() * weight[0].numel() >= FEWEST_PRODUCTS
        )
        _, dw, db = _pytorch_gradients(grad, x, weight, ctx.geometry, (False, of_weight and not by_hand, of_bias))
        if by_hand and of_weight:
            dw = correlate(grad, x, weight.shape[2:], stride, padding)
        # PyTorch computes the gradient of the input several times more slowly than oneDNN.
        dx = torch.mkldnn_convolution(grad, weight, None, padding, stride, ONES, 1) if of_x else None
        return dx, dw, db, None, None, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mkldnn_convolution(x, weight, bias, _padding(weight.shape[2:]), ONES, ONES, 1)


def _padding(kernel_size: Sequence[int]) -> Triple:
    """Return the padding that keeps the size."""
    d, h, w = kernel_size
    return d // 2, h // 2, w // 2


def _is_quick(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether a layer may compute by itself: on a CPU of this kind, and nothing has to look into it."""
    if torch.compiler.is_compiling() or is_recorded(x) or is_transforming():
        return False
    tensors = [x, weight] if bias is None else [x, weight, bias]
    return (
        x.ndim == 5
        and all(t.is_cpu and t.dtype == torch.float32 for t in tensors)
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not is_dispatched(*tensors)
        and not is_transformed(*tensors)
    )


def _is_looked_into(grad: Tensor) -> bool:
    """Return whether the backward pass is differentiated itself, a mode looks into it, or `grad` stands for several."""
    return torch.is_grad_enabled() or is_transforming() or is_dispatched(grad) or is_transformed(grad)


def _pytorch_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple[Any, ...], needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    stride, padding, dilation, transposed, rest, groups = geometry
    width = weight.shape[1 if transposed else 0]
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, [width], stride, padding, dilation, transposed, rest, groups, needed
    )
    return cast("tuple[Tensor | None, ...]", gradients)
