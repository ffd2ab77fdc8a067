"""Trainers for nnU-Net: UCA-Net as planned, and nnU-Net's own planned net with CSCA in its skips.

    export nnUNet_extTrainer=.../examples/nnunet          # nnU-Net 2.8 and newer
    nnUNetv2_train 501 3d_fullres 0 -tr nnUNetTrainerUCANet

nnU-Net 2.3 to 2.7 find this file when it is copied into nnunetv2/training/nnUNetTrainer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from crossattn3d import UCANet
from crossattn3d.dropin import wrap_skips


class PlannedNet(NamedTuple):
    """nnU-Net's plan of a network, as `get_network_from_plans` takes it."""

    arch_class_name: str
    arch_kwargs: dict[str, Any]
    arch_kwargs_req_import: Sequence[str]
    input_channels: int
    output_channels: int
    deep_supervision: bool


def planned_net(first: Any, second: Any, *rest: Any, enable_deep_supervision: bool = True) -> PlannedNet:
    """Return the plan from the arguments of either signature of `build_network_architecture`.

    2.3 to 2.6: (class_name, kwargs, names of kwargs to import, input channels, output channels, deep supervision)
    from 2.7:   (plans manager, configuration manager, input channels, output channels, deep supervision)

    Deep supervision may be positional or a keyword.
    """
    if isinstance(first, str):
        architecture = (first, second, rest[0])
        input_channels, output_channels, *switch = rest[1:]
    else:
        names = ("network_arch_class_name", "network_arch_init_kwargs", "network_arch_init_kwargs_req_import")
        architecture = cast("tuple[str, dict[str, Any], Sequence[str]]", tuple(getattr(second, n) for n in names))
        input_channels, output_channels, *switch = rest
    return PlannedNet(*architecture, input_channels, output_channels, switch[0] if switch else enable_deep_supervision)


def ucanet_of(plan: PlannedNet) -> UCANet:
    """Return UCA-Net with the planned widths, strides and kernels, for 3D configurations.

    Raises:
        ValueError: the configuration is 2D, or has strides in the first stage.
    """
    kwargs = plan.arch_kwargs
    strides = [_triple(stride) for stride in kwargs["strides"]]
    if any(n != 1 for n in strides[0]):
        raise ValueError(
            f"nnUNetTrainerUCANet: expected a plan whose first stage has stride 1; got {strides[0]}; plan anew with "
            "nnU-Net's own planners"
        )
    # If a stride is larger than the planned kernel, upsampling with that kernel would leave holes.
    kernels = [
        tuple(max(k, 3 if s > 1 else 1) for k, s in zip(_triple(kernel), stride, strict=True))
        for kernel, stride in zip(kwargs["kernel_sizes"], [*strides[1:], (1, 1, 1)], strict=True)
    ]
    net = UCANet(
        plan.input_channels,
        plan.output_channels,
        kwargs["features_per_stage"],
        strides=strides[1:],
        kernel_sizes=kernels,
        norm="instance",
        deep_supervision=True,
    )
    # The heads are switched off, not left out: nnU-Net predicts without them, but loads the same weights.
    net.deep_supervision = plan.deep_supervision
    return net


class nnUNetTrainerUCANet(nnUNetTrainer):  # type: ignore[misc]
    """Trains UCA-Net on any 3D configuration: the planned patch, widths, strides and kernels, two convolutions each."""

    @staticmethod
    def build_network_architecture(
        plans_manager: Any, configuration_manager: Any, *rest: Any, enable_deep_supervision: bool = True
    ) -> nn.Module:
        """Return the net; nnU-Net chooses the signature by the name of the first parameter."""
        plan = planned_net(plans_manager, configuration_manager, *rest, enable_deep_supervision=enable_deep_supervision)
        return ucanet_of(plan)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch between a list of logits, for training, and the final logits alone, for validation."""
        net = self.network.module if self.is_ddp else self.network
        getattr(net, "_orig_mod", net).deep_supervision = enabled


class nnUNetTrainerCSCA(nnUNetTrainer):  # type: ignore[misc]
    """Trains the net that nnU-Net has planned, with CSCA in front of its concatenations; CCA in a 2D configuration."""

    @staticmethod
    def build_network_architecture(
        plans_manager: Any, configuration_manager: Any, *rest: Any, enable_deep_supervision: bool = True
    ) -> nn.Module:
        """Return the net; nnU-Net chooses the signature by the name of the first parameter."""
        plan = planned_net(plans_manager, configuration_manager, *rest, enable_deep_supervision=enable_deep_supervision)
        net: nn.Module = get_network_from_plans(**plan._asdict())
        flat = plan.arch_kwargs["conv_op"].endswith("Conv2d")
        return wrap_skips(net, attention="cca" if flat else "csca")


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    if len(values) != 3:
        raise ValueError(
            f"nnUNetTrainerUCANet: expected a 3D configuration, as 3d_fullres; got one of {len(values)} dimensions; "
            "nnUNetTrainerCSCA takes 2D ones"
        )
    return cast("tuple[int, int, int]", tuple(values))
