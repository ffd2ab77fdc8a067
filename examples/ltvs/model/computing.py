"""The device and the precision that networks compute in.

Weights, losses and probabilities are float32 whatever the precision.
"""

import math
import re
from typing import Literal, get_args

import torch

from ltvs.runtime.choices import check_choice
from ltvs.runtime.errors import InputError

Precision = Literal["32", "bf16-mixed", "16-mixed"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

PredictionPrecision = Literal["auto", "32", "bf16-mixed", "16-mixed"]
"""The precision of prediction. `auto` takes bfloat16 on devices with instructions for it, and float32 on others."""
PREDICTION_PRECISIONS: tuple[PredictionPrecision, ...] = get_args(PredictionPrecision)

#: What `torch.cpu.get_capabilities` calls instructions for bfloat16, on x86 and on Arm.
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def best_device() -> str:
    """Return `cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str, count: int = 1) -> None:
    """Raise InputError if PyTorch cannot compute on the device of this name, or on `count` of them."""
    _check_name(name)
    kind, _, index = name.partition(":")
    if count > 1 and index:
        raise InputError(f"--devices {count}: expected 1 with --device {name}, which is a single one; give cuda")
    there = _devices(kind)
    if int(index or 0) >= there:
        has = f"this machine has {there} for PyTorch" if there else f"PyTorch finds no {kind} device here"
        raise InputError(f"--device: expected a device that is there; got {name!r}, but {has}; give {best_device()}")
    if kind != "cpu" and count > there:
        raise InputError(f"--devices {count}: expected {there} or fewer, as this machine has; got {count}")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"--device: expected a device that works; got {name!r} ({reason}); give cpu") from error


def _check_name(name: str) -> None:
    """Raise InputError unless devices are called so, there or not."""
    if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda(:\d{1,3})?|mps", name, re.ASCII):
        raise InputError(f"--device: expected cpu, cuda, cuda:1 or mps; got {name!r}; give {best_device()}")


def _devices(kind: str) -> int:
    """Return how many devices of a kind PyTorch finds: all processors are one."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())


def fast_precision(device: str) -> Precision:
    """Return `bf16-mixed` where a CPU or CUDA device has instructions for it, else `32`: emulated, it is far slower.

    Raises:
        InputError: no device is called so.
    """
    _check_name(device)
    has = False
    if torch.device(device).type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of PyTorch cannot be asked.
    elif torch.device(device).type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        has = any(capabilities.get(name) for name in _BFLOAT16)
    return "bf16-mixed" if has else "32"


def predicting_in(precision: PredictionPrecision, device: str) -> Precision:
    """Return the precision to predict in.

    `auto` is `bf16-mixed` where the device has instructions for it, whatever the networks were trained in. `bf16-mixed`
    is `32`, too, where it would only be emulated.

    Raises:
        InputError: there is no such precision, or no device is called so.
    """
    check_choice("--precision", precision, PREDICTION_PRECISIONS)
    return fast_precision(device) if precision == "auto" or precision == "bf16-mixed" else precision


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which layers compute in `precision`: in float32, or in half precision where that is safe.

    Args:
        precision: `32`, or PyTorch's autocast to bfloat16 (`bf16-mixed`) or float16 (`16-mixed`). In training, float16
            also needs the loss to be scaled, which is not done here.
        device: where the network is.

    Raises:
        InputError: there is no such precision.
    """
    _check_known(precision)
    return torch.autocast(device.type, _HALF.get(precision, torch.bfloat16), enabled=precision in _HALF)


def check_precision(precision: Precision, device: str, depth: int, levels: int) -> None:
    """Raise InputError where half precision would silently give wrong gradients, or there is no such precision.

    On CPU, PyTorch 2.13 reads the gradient of a convolution's weights from uninitialized memory where a bfloat16 map is
    two slices deep.

    Args:
        precision: to compute in.
        device: where.
        depth: of the patches, slices.
        levels: of the network, each half as deep as the one before, rounded up.
    """
    _check_known(precision)
    _check_name(device)
    if precision in _HALF and torch.device(device).type == "cpu":
        depths = [math.ceil(depth / 2**level) for level in range(levels)]
        if 2 in depths:
            raise InputError(
                f"--precision {precision}: on CPU no level of the network may be 2 slices deep, where PyTorch's "
                f"gradients are wrong; got {depths} slices for a patch of {depth}; use deeper patches, or 32"
            )


def _check_known(precision: str) -> None:
    """Raise InputError unless there is such a precision."""
    check_choice("--precision", precision, PRECISIONS)
