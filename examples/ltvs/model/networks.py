"""The network of each stage: made from its settings, saved and loaded without pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn

from crossattn3d import UCANet, UNet3d
from crossattn3d._layers.norms import Norm
from crossattn3d.functional import ScoreNorm, backend_of
from ltvs.model.systems.registry import Network, make_system
from ltvs.runtime.choices import check_choices
from ltvs.runtime.errors import InputError, few, one_line
from ltvs.runtime.files import atomic_path

Skip = Literal["csca", "cca", "sca"]

#: The settings that a network has, beyond its classes: of others of Table 1, the paper leaves nothing to choose.
OPTIONS: dict[str, tuple[str, ...]] = {
    "unet3d": ("channels", "norm"),
    "ucanet": ("channels", "norm", "skip", "score_norm", "residual", "gated"),
}


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of a network, saved beside its weights.

    Args:
        classes: output channels.
        network: one of the ten systems of Table 1. `OPTIONS` says which of the following it has; others stay as they
            are by default.
        channels: width of each level, finest first.
        norm: normalization after each convolution.
        skip: UCA-Net with both of its attentions or one.
        score_norm: how attention scores are normalized.
        residual: whether the decoder map is added to the attention's result.
        gated: whether attention corrects a static mixture, and a gate lets pass the result for every channel and voxel.
    """

    classes: int
    network: Network = "ucanet"
    channels: tuple[int, ...] = (32, 64, 128, 256)
    norm: Norm = "batch"
    skip: Skip = "csca"
    score_norm: ScoreNorm = "instance"
    residual: bool = True
    gated: bool = False

    def __post_init__(self) -> None:
        check_choices(self, options=False)


def network_settings(classes: int, network: Network, **options: Any) -> NetworkSettings:
    """Return the settings of a network, with those of `options` that it has.

    Raises:
        InputError: a setting is none of its choices.
    """
    return NetworkSettings(classes, network, **{k: v for k, v in options.items() if k in OPTIONS.get(network, ())})


def make_network(settings: NetworkSettings) -> nn.Module:
    """Return a network with new weights for one-channel CTs, in channels-last memory format, which is faster.

    It takes (b, 1, d, h, w) and has the attributes `out_channels` and `head`, whose last convolution gives the logits.

    Raises:
        InputError: CROSSATTN3D_BACKEND names no backend, which would end the first step of an attention.
    """
    _check_backend()
    net: nn.Module
    if settings.network == "unet3d":
        net = UNet3d(1, settings.classes, settings.channels, norm=settings.norm)
    elif settings.network == "ucanet":
        net = UCANet(
            1,
            settings.classes,
            settings.channels,
            attention=settings.skip,
            score_norm=settings.score_norm,
            residual=settings.residual,
            gated=settings.gated,
            norm=settings.norm,
        )
    else:
        net = make_system(settings.network, 1, settings.classes)
    return channels_last(net)


def _check_backend() -> None:
    """Raise InputError if CROSSATTN3D_BACKEND names no backend."""
    try:
        backend_of("auto")
    except ValueError as error:
        raise InputError(str(error)) from error


def channels_last(net: nn.Module) -> nn.Module:
    """Lay the kernels of a network out as layers of channels-last maps read them; return the network."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in net.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])
    return net


def save_weights(net: nn.Module, path: Path, notes: dict[str, str] | None = None, *, half: bool = False) -> None:
    """Write the state_dict as safetensors, atomically.

    Args:
        net: of any device.
        path: to write.
        notes: about the weights.
        half: whether to write parameters as float16; batch statistics, which may be any size, stay float32.

    Raises:
        InputError: the file cannot be written, or a parameter is beyond what float16 can hold.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in net.state_dict().items()}
    if half:
        tensors |= {name: parameter.detach().half().contiguous().cpu() for name, parameter in net.named_parameters()}
        if beyond := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise InputError(
                f"{path}: expected weights that float16 can hold, up to 65504; got larger ones in {few(beyond)}; "
                "share the run as it is"
            )
    with atomic_path(path) as temporary:
        # In one entry, since the order of several would be random.
        save_file(tensors, temporary, {"notes": json.dumps(notes or {})})


def weight_notes(path: Path) -> dict[str, str]:
    """Return the notes that `save_weights` was given.

    Raises:
        InputError: the file is missing or damaged.
    """
    # The header alone, which is JSON after its length: the library maps the file, which not every network disk can.
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return dict(json.loads(header["__metadata__"]["notes"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: is missing or damaged ({one_line(error)}); train it again") from error


def load_weights(net: nn.Module, path: Path) -> None:
    """Load the weights that `save_weights` has written into a network, whose own precision they get."""
    # Read, and not mapped into memory, which not every network disk can.
    net.load_state_dict(load(path.read_bytes()))


def read_settings(content: dict[str, Any]) -> NetworkSettings:
    """Return the settings that `settings_json` gave; those that older runs lack are the defaults.

    Raises:
        KeyError, TypeError: something is missing or unknown.
    """
    options = {**content, "channels": tuple(content["channels"])} if "channels" in content else dict(content)
    classes, network = options.pop("classes"), options.pop("network", None)
    if network is None:
        # Of when a U-Net was a skip of the UCA-Net.
        network = "unet3d" if options["skip"] == "concat" else "ucanet"
        unused = {"skip", "score_norm", "residual"} if network == "unet3d" else set()
        options = {name: value for name, value in options.items() if name not in unused}
    return NetworkSettings(classes, network, **options)


def load_network(settings: dict[str, Any], weights: Path) -> nn.Module:
    """Return the network that `settings` describe, with the weights of a safetensors file, in eval mode.

    Raises:
        InputError: settings or weights are missing, damaged, or do not match; or as `make_network`.
    """
    # First, since it has nothing to do with the files, which the errors below blame.
    _check_backend()
    try:
        net = make_network(read_settings(settings))
        load_weights(net, weights)
    except OSError as error:
        raise InputError(f"{weights}: cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise InputError(f"{weights}: is not a safetensors file or is damaged ({error}); copy it again") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights}: does not fit the settings beside it ({reason}); train it again") from error
    return net.eval()


def settings_json(settings: NetworkSettings) -> dict[str, Any]:
    """Return the settings that a network has, as JSON holds them."""
    has = ("classes", "network", *OPTIONS.get(settings.network, ()))
    return {name: value for name, value in asdict(settings).items() if name in has}
