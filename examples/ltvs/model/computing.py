"""The device and the precision that networks compute in.

Weights, losses and probabilities are float32 whatever the precision.
"""

import math
from typing import Literal, get_args

import torch

from ltvs.runtime.errors import InputError

Precision = Literal["32", "bf16-mixed", "16-mixed"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: What `torch.cpu.get_capabilities` calls instructions for bfloat16, on x86 and on Arm.
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def best_device() -> str:
    """Return `cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str, count: int = 1) -> None:
    """Raise InputError if PyTorch cannot compute on the device of this name, or on `count` of them."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: expected cpu, cuda, cuda:1, ... that is there; {reason}") from error
    device = torch.device(name)
    if count > 1 and device.index is not None:
        raise InputError(f"--devices {count}: expected 1 with --device {name}, which is a single one; give cuda")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(f"--devices {count}: this machine has {torch.cuda.device_count()}")


def fast_precision(device: str) -> Precision:
    """Return `bf16-mixed` where the device has instructions for bfloat16, else `32`: emulated, it is far slower."""
    if torch.device(device).type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older versions of PyTorch cannot be asked.
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        has = any(capabilities.get(name) for name in _BFLOAT16)
    return "bf16-mixed" if has else "32"


def not_emulated(precision: Precision, device: str) -> Precision:
    """Return the precision to predict in: `32` in place of `bf16-mixed` where the device would only emulate it."""
    return fast_precision(device) if precision == "bf16-mixed" else precision


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Return a context in which layers compute in `precision`: in float32, or in half precision where that is safe.

    Args:
        precision: `32`, or PyTorch's autocast to bfloat16 (`bf16-mixed`) or float16 (`16-mixed`). In training, float16
            also needs the loss to be scaled, which is not done here.
        device: where the network is.
    """
    return torch.autocast(device.type, _HALF.get(precision, torch.bfloat16), enabled=precision in _HALF)


def check_precision(precision: Precision, device: str, depth: int, levels: int) -> None:
    """Raise InputError where half precision would silently give wrong gradients.

    On CPU, PyTorch 2.13 reads the gradient of a convolution's weights from uninitialized memory where a bfloat16 map is
    two slices deep.

    Args:
        precision: to compute in.
        device: where.
        depth: of the patches, slices.
        levels: of the network, each half as deep as the one before, rounded up.
    """
    if precision in _HALF and torch.device(device).type == "cpu":
        depths = [math.ceil(depth / 2**level) for level in range(levels)]
        if 2 in depths:
            raise InputError(
                f"--precision {precision}: on CPU no level of the network may be 2 slices deep, where PyTorch's "
                f"gradients are wrong; got {depths} slices for a patch of {depth}; use deeper patches, or 32"
            )
