"""What training minimizes, and how the learning rate falls."""

from typing import Literal

import torch
from monai.losses import DiceCELoss, DiceLoss

Loss = Literal["dice", "dice_ce"]
DiceOver = Literal["batch", "patch"]
Schedule = Literal["constant", "cosine"]


def make_loss(
    name: Loss, classes: int, background_weight: float = 1.0, dice_over: DiceOver = "batch"
) -> torch.nn.Module:
    """Dice loss over the foreground classes, alone or with cross-entropy.

    Args:
        name: `dice` or `dice_ce`.
        classes: of the network, background included.
        background_weight: of background in the cross-entropy; every other class weighs 1.
        dice_over: `batch` sums over the patches that a device sees at once, since many patches hold no tumor, and Dice
            of one patch alone would hardly punish a false one; `patch` takes the mean over patches.
    """
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
    """The learning rate as a factor of its start: 1 throughout, or a half cosine down to 0."""
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
