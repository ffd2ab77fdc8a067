"""Training one stage: patches, Dice loss, Adam; validation every few epochs, the best weights kept."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor
from tqdm import tqdm

from crossattn3d import UNet3d
from ltvs.errors import InputError
from ltvs.loader import PatchLoader
from ltvs.networks import load_weights, save_weights
from ltvs.patches import PatchDataset
from ltvs.precision import computing_in
from ltvs.prepared import PreparedSet
from ltvs.runs import Curves
from ltvs.settings import TrainSettings
from ltvs.stages import CLASSES, Stage
from ltvs.validation import calibrate, mean_dice, validate


@dataclass
class Best:
    """The best validation so far."""

    epoch: int = 0
    dice: float = -1.0


def train_stage(net: UNet3d, data: PreparedSet, stage: Stage, settings: TrainSettings, folder: Path) -> Best:
    """Train `net` and leave `best.safetensors`, `last.safetensors` and the curves in `folder`.

    Raises:
        InputError: no training cases, none with labels for this stage, or the loss stopped being finite.
    """
    data.check_stage(stage)
    if not data.split["train"]:
        raise InputError(f"{data.folder}: the split has no training cases; prepare it again with more cases")
    seed_everything(settings.seed)
    device = torch.device(settings.device)
    net.to(device)
    net.use_checkpoint = settings.use_checkpoint
    dataset = PatchDataset(
        data,
        stage,
        data.split["train"],
        settings.patch,
        settings.overlap,
        settings.rotation,
        settings.jitter,
        settings.seed,
        settings.foreground,
    )
    loader = PatchLoader(
        dataset, settings.batch_size, settings.seed, settings.workers, pin_memory=device.type == "cuda"
    )
    loss_of = make_loss(settings.loss, len(CLASSES[stage]), settings.background_weight).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
    scheduler = make_schedule(optimizer, settings.schedule, settings.epochs * loader.steps)
    best = Best()
    with Curves(folder, CLASSES[stage][1:]) as curves, _progress(settings, stage, loader.steps) as bar:
        for epoch in range(1, settings.epochs + 1):
            net.train()
            losses = []
            for [(image, target, names)] in loader.epoch(epoch):
                with computing_in(settings.precision, device):
                    logits = net(_to_device(image, device))
                loss = loss_of(logits.float(), target.to(device, torch.long))
                if not torch.isfinite(loss):
                    raise InputError(
                        f"the loss is {loss.item()} at epoch {epoch} on {', '.join(names)}; lower --learning-rate"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
                bar.set_postfix_str(
                    f"loss {np.mean(losses):.3f}, best Dice {max(best.dice, 0):.3f} (epoch {best.epoch})"
                )
                bar.update()
            dice = None
            if epoch % settings.validate_every == 0 or epoch == settings.epochs:
                dice = validate(net, data, stage, settings)
                save_weights(net, folder / "last.safetensors")
                if (mean := mean_dice(dice)) > best.dice:
                    best = Best(epoch, mean)
                    save_weights(net, folder / "best.safetensors")
            curves.add(epoch, float(np.mean(losses)), dice)
    if settings.calibrate:
        load_weights(net, folder / "best.safetensors")
        factor, best.dice = calibrate(net, data, stage, settings)
        save_weights(net, folder / "best.safetensors")
        print(f"stage {stage}: odds of background times {factor:g} give the highest validation Dice")
    return best


def make_loss(name: str, classes: int, background_weight: float = 1.0) -> torch.nn.Module:
    """Dice loss over the foreground classes, alone or with cross-entropy; Dice is taken over the whole batch.

    Over the batch, since many patches hold no tumour: Dice of one patch alone would hardly punish a false one.

    Args:
        name: `dice` or `dice_ce`.
        classes: of the network, background included.
        background_weight: of background in the cross-entropy; every other class weighs 1.
    """
    loss: torch.nn.Module
    if name == "dice":
        loss = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    else:
        weight = torch.ones(classes)
        weight[0] = background_weight
        loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, weight=weight)
    return loss


def make_schedule(optimizer: torch.optim.Optimizer, name: str, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate as a factor of its start: 1 throughout, or a half cosine down to 0."""
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - MONAI draws from it
    torch.manual_seed(seed)


def _to_device(image: Tensor, device: torch.device) -> Tensor:
    return image.to(device, memory_format=torch.channels_last_3d)


def _progress(settings: TrainSettings, stage: Stage, steps: int) -> "tqdm[Iterator[None]]":
    return tqdm(total=settings.epochs * steps, desc=f"stage {stage}", unit="step", dynamic_ncols=True, mininterval=1.0)
