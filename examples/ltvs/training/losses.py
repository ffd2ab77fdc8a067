"""The loss that training minimizes, and the schedule of its learning rate."""

from typing import get_args

import torch

from ltvs.runtime.choices import check_choice
from ltvs.training.settings import DiceOver, Loss, Schedule


def make_loss(
    name: Loss, classes: int, background_weight: float = 1.0, dice_over: DiceOver = "batch"
) -> torch.nn.Module:
    """Return the Dice loss over the foreground classes, alone or with cross-entropy.

    Args:
        name: `dice` or `dice_ce`.
        classes: of the network, background included.
        background_weight: of background in the cross-entropy; every other class weighs 1.
        dice_over: `batch` sums over the patches of a micro-batch, since many patches hold no tumor, and Dice of one
            patch alone would hardly penalize a false one; `patch` takes the mean over patches.

    Raises:
        InputError: there is no such loss, or nothing of that name to take Dice over.
    """
    check_choice("--loss", name, get_args(Loss))
    check_choice("--dice-over", dice_over, get_args(DiceOver))
    from monai.losses import DiceCELoss, DiceLoss

    batch = dice_over == "batch"
    loss: torch.nn.Module
    if name == "dice":
        loss = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=batch)
    else:
        weight = torch.ones(classes)
        weight[0] = background_weight
        loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=batch, weight=weight)
    return loss


def make_schedule(optimizer: torch.optim.Optimizer, name: Schedule, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule of the learning rate: constant, or falling to 0 as half a cosine.

    Raises:
        InputError: there is no such schedule.
    """
    check_choice("--schedule", name, get_args(Schedule))
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
