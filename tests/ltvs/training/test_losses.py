"""The losses by hand, and the schedules of the learning rate."""

import numpy as np
import pytest
import torch

from ltvs.runtime.errors import InputError
from ltvs.training.losses import make_loss, make_schedule


def test_dice_loss_is_the_papers_and_is_taken_over_the_batch() -> None:
    target = torch.zeros(2, 1, 2, 2, 2, dtype=torch.long)
    target[0] = 1
    logits = torch.full((2, 2, 2, 2, 2), -20.0)
    logits.scatter_(1, target, 20.0)
    assert make_loss("dice", 2)(logits, target).item() == pytest.approx(0, abs=1e-4)
    logits[0] = -logits[0]  # miss all there is: no overlap in the batch at all
    assert make_loss("dice", 2)(logits, target).item() == pytest.approx(1, abs=1e-4)
    logits[0, :, 0] = -logits[0, :, 0]  # find half of it: 2 * 4 / (4 + 8)
    assert make_loss("dice", 2)(logits, target).item() == pytest.approx(1 - 2 / 3, abs=1e-4)
    assert make_loss("dice_ce", 2)(logits, target).item() > make_loss("dice", 2)(logits, target).item()


def test_the_background_weighs_less_in_the_cross_entropy_where_asked() -> None:
    target = torch.zeros(1, 1, 2, 3, 4, dtype=torch.long)
    target[..., :1] = 1  # a quarter
    logits = torch.zeros(1, 2, 2, 3, 4)
    logits[:, 1] = 2.0  # says foreground everywhere: wrong in three quarters
    dice, equal, light = (
        make_loss(*args)(logits, target).item() for args in (("dice", 2), ("dice_ce", 2), ("dice_ce", 2, 0.1))
    )
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    assert equal - dice == pytest.approx((right + 3 * wrong) / 4, rel=1e-5)
    assert light - dice == pytest.approx((right + 0.3 * wrong) / 1.3, rel=1e-5)


def test_schedules() -> None:
    rates = {}
    for name in ("constant", "cosine"):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = make_schedule(optimizer, name, 10)
        rates[name] = []
        for _ in range(10):
            optimizer.step()
            scheduler.step()
            rates[name].append(scheduler.get_last_lr()[0])
    assert rates["constant"] == [0.1] * 10
    assert rates["cosine"][4] == pytest.approx(0.05)
    assert rates["cosine"][-1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_loss("focal", 2), "--loss: expected dice, dice_ce; got 'focal'; give one of these"),
        (lambda: make_loss("dice", 2, dice_over="voxel"), "--dice-over: expected batch, patch; got 'voxel'; give one"),
        (lambda: make_schedule(None, "linear", 5), "--schedule: expected constant, cosine; got 'linear'; give one"),
    ],
)
def test_unknown_losses_and_schedules_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
