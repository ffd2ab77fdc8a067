"""Settings that make no sense are refused; tests/docs/test_defaults.py compares the defaults with the paper."""

from pathlib import Path

import pytest

from ltvs.model.networks import network_settings
from ltvs.runtime.errors import InputError
from support.trained_runs import tiny_settings

#: The default, which every network may be given.
WIDE = (32, 64, 128, 256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs: expected 1 or more; got 0"),
        ({"batch_size": 0}, "--batch-size: expected 1 or more"),
        ({"rotation": -1}, "--rotation: expected 0 or more"),
        ({"jitter": -0.5}, "--jitter: expected 0 or more"),
        ({"background_weight": -1.0}, "--background-weight: expected 0 or more; got -1.0"),
        (
            {"precision": "bf16-mixed", "patch": (7, 16, 16)},
            r"--precision bf16-mixed: on CPU no level .* got \[7, 4, 2\] slices",
        ),
        ({"clip_norm": -1.0}, "--clip-norm: expected 0, for any norm, or more; got -1.0"),
        ({"ema": 1.0}, "--ema: expected 0, for no average, or a decay below 1; got 1.0"),
        ({"ema": -0.1}, "--ema: expected 0, for no average, or a decay below 1; got -0.1"),
        ({"fixed": ("noise", "shape")}, "--fixed noise shape: expected with --render only"),
        ({"render": 2, "augment": True}, "--render: expected without --augment and --foreground"),
        ({"render": 2, "foreground": 0.5}, "--render: expected without --augment and --foreground"),
        ({"foreground": 1.5}, "--foreground: expected a share from 0 to 1; got 1.5"),
        ({"device": "banana"}, "--device: expected cpu, cuda, cuda:1 or mps; got 'banana'; give "),
        ({"device": "cuda:0", "devices": 2}, "--devices 2: expected 1 with --device cuda:0, which is a single one"),
        ({"precision": "bfloat16"}, "--precision: expected 32, bf16-mixed, 16-mixed; got 'bfloat16'; give one"),
        ({"precision": 32}, "--precision: expected 32, bf16-mixed, 16-mixed; got 32; give one"),
        ({"stage": "3"}, "--stage: expected 1, 2, both; got '3'; give one"),
        ({"loss": "focal"}, "--loss: expected dice, dice_ce; got 'focal'; give one"),
        ({"dice_over": "voxels"}, "--dice-over: expected batch, patch; got 'voxels'; give one"),
        ({"schedule": "linear"}, "--schedule: expected constant, cosine; got 'linear'; give one"),
        ({"norm": "layer"}, "--norm: expected batch, instance, group; got 'layer'; give one"),
        ({"skip": "concat"}, "--skip: expected csca, cca, sca; got 'concat'; give one"),
        ({"network": "unet"}, "--network: expected unet2d, .*, ucanet; got 'unet'; give one"),
        ({"liver_network": "unet"}, "--liver-network: expected unet2d, .*, ucanet; got 'unet'; give one"),
        (
            {"network": "vnet", "liver_network": "uxnet"},
            "--channels: expected with unet3d or ucanet only; got it with uxnet and vnet; leave it out",
        ),
        ({"network": "vnet", "stage": "2"}, "--channels: expected with unet3d or ucanet only; got it with vnet; leave"),
        ({"skip": "cca", "stage": "1"}, "--skip: expected with ucanet only; got it with unet3d; leave it out"),
        (
            {"network": "unet3d", "skip": "cca"},
            "--skip: expected with ucanet only; got it with unet3d; leave it out",
        ),
        (
            {"network": "vnet", "use_checkpoint": True},
            "--use-checkpoint: expected with unet3d or ucanet only; got it with vnet; leave it out, and save memory by",
        ),
        (
            {"network": "vnet", "precision": "bf16-mixed", "patch": (24, 16, 16), "stage": "2", "channels": WIDE},
            r"--precision bf16-mixed: on CPU no level .* got \[32, 16, 8, 4, 2\] slices",
        ),
        (
            {"pretrained": Path("weights.npz")},
            "--pretrained weights.npz: expected with transunet and without --init.*; got it with unet3d and ucanet;",
        ),
        (
            {"pretrained": Path("weights.npz"), "network": "transunet", "init": Path("other")},
            "--pretrained weights.npz: expected with transunet and without --init.*; got it with --init other; leave",
        ),
        ({"score_norm": "softmax"}, "--score-norm: expected none, sqrt, mean, cosine, instance; got 'softmax'; give"),
        ({"residual": "false"}, "--residual: expected True, False; got 'false'; give one"),
        ({"render": 2, "fixed": ("noise", "shapes")}, "--fixed: expected contrast, .*; got 'shapes'; give one"),
        ({"devices": 0}, "--devices: expected 1 or more"),
        (
            {"batch_size": 6, "devices": 2, "accumulate": 2},
            "--batch-size 6: expected a multiple of 4, .* by 2 devices in 2 parts",
        ),
        ({"sync_batch_norm": True}, "--sync-batch-norm: expected GPUs"),
        ({"save_every": -1.0}, "--save-every: expected 0 or more"),
        ({"learning_rate": 0.0}, "--learning-rate: expected more than 0"),
        ({"overlap": (8, 0, 0)}, "--overlap: expected 0 or more and less than the patch"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_settings(tmp_path, tmp_path, **changes)


def test_an_option_may_be_of_one_stage_alone(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, tmp_path, network="vnet")
    assert settings.network_of(1) == network_settings(2, "unet3d", channels=(2, 3, 4))
    assert settings.network_of(2) == network_settings(3, "vnet")
    tiny_settings(tmp_path, tmp_path, network="vnet", use_checkpoint=True, stage="1")


def test_2d_networks_have_one_level_of_slices(tmp_path: Path) -> None:
    words = {"precision": "bf16-mixed", "patch": (8, 16, 16), "stage": "2", "channels": WIDE}
    tiny_settings(tmp_path, tmp_path, network="transunet", **words)


def test_a_run_does_not_begin_with_itself(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for init in (tmp_path / "run", tmp_path / "other" / ".." / "run", tmp_path / "link"):
        with pytest.raises(InputError, match=r"--init: expected another run than --output, .* give another --output"):
            tiny_settings(tmp_path, tmp_path / "run", init=init)
    tiny_settings(tmp_path, tmp_path / "run", init=tmp_path / "other")
