"""One step of training: the loss, its gradients, and the update of the weights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crossattn3d import UNet3d
from ltvs.training.losses import make_loss, make_schedule
from ltvs.training.settings import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Sample(NamedTuple):
    """One training example, or a micro-batch of them.

    Attributes:
        image: as `network_input` makes it, (1, d, h, w), float32.
        target: class of each voxel, (1, d, h, w), uint8.
        case: name of the case that it comes from.
    """

    image: Tensor
    target: Tensor
    case: str


class Learner:
    """A network in training, with its optimizer, learning rate, loss scale and average, on one or several devices.

    Args:
        fabric: launched.
        net: with the weights to begin with; moved to the device.
        settings: of the training.
        steps: of the whole training, over which the learning rate is scheduled.
    """

    def __init__(self, fabric: "Fabric", net: nn.Module, settings: TrainSettings, steps: int) -> None:
        if isinstance(net, UNet3d):
            net.use_checkpoint = settings.use_checkpoint
        if settings.sync_batch_norm:
            net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        self.fabric = fabric
        self.net = net
        self.clip_norm = settings.clip_norm
        self._average = _moving_average(net, settings.ema, fabric.device) if settings.ema else None
        classes = cast("int", net.out_channels)
        self.loss = make_loss(settings.loss, classes, settings.background_weight, settings.dice_over)
        self.loss.to(fabric.device)
        self.optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
        self.scheduler = make_schedule(self.optimizer, settings.schedule, steps)
        ready: Any = torch.compile(net) if settings.compile else net
        self.module, self._optimizer = fabric.setup(ready, self.optimizer)

    @property
    def result(self) -> nn.Module:
        """The network to validate and to keep: the average of the weights if there is one."""
        return self.net if self._average is None else self._average.module

    def backward(self, micro_batches: Sequence[Sample]) -> Tensor:
        """Compute the gradients of the mean loss of micro-batches of equal size; return the loss, on the device."""
        self.net.train()
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for i, (image, target, _) in enumerate(micro_batches):
            x = image.to(self.fabric.device, memory_format=torch.channels_last_3d, non_blocking=True)
            y = target.to(self.fabric.device, torch.long)
            # Gradients are averaged over devices once, after the last micro-batch.
            with self.fabric.no_backward_sync(self.module, enabled=i + 1 < len(micro_batches)):
                loss = self.loss(self.module(x), y) / len(micro_batches)
                self.fabric.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def update(self) -> bool:
        """Take one step of the optimizer; return whether all weights are finite afterwards."""
        if self.clip_norm:
            # In float16 a norm that is not finite is no error: the step is skipped.
            self.fabric.clip_gradients(self.module, self._optimizer, max_norm=self.clip_norm, error_if_nonfinite=False)
        self._optimizer.step()
        self.scheduler.step()
        if self._average is not None:
            self._average.update_parameters(self.net)
        return bool(torch.nn.utils.get_total_norm(self.net.parameters(), math.inf).isfinite())

    def share_statistics(self) -> None:
        """Give the result of every process the batch statistics of rank 0, which saves its own."""
        if self.fabric.world_size > 1:
            for buffer in self.result.buffers():
                buffer.copy_(self.fabric.broadcast(buffer))

    def state(self) -> dict[str, Any]:
        """Return everything that `load_state` needs to continue as if there had been no interruption."""
        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        return state if self._average is None else state | {"average": self._average.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])


def _moving_average(net: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """Return an exponential moving average of the weights and batch statistics of a network, still without a step.

    After n steps the decay is min(decay, (1 + n) / (10 + n)), so that the average leaves the first weights behind soon.
    """

    def update(averages: Any, values: Any, steps: Any) -> None:
        if averages[0].is_floating_point():
            n = int(steps)
            average = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
            average(averages, values, steps)
        else:
            # The number of batches that the statistics are made of.
            torch._foreach_copy_(averages, values)

    return AveragedModel(net, device, multi_avg_fn=update, use_buffers=True)
