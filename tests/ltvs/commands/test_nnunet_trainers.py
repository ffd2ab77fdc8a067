"""The trainers in the real nnU-Net: both signatures, any plan, and from phantoms to Dice by its own commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import torch
from torch import nn

from crossattn3d import UCANet
from crossattn3d.dropin import AttendedBlock
from ltvs.evaluation.metrics import dice
from ltvs.volume.images import read_labels, same_grid
from support import SUPPORT

REASON = "nnU-Net is not installed: pip install '.[nnunet]'"
pytest.importorskip("nnunetv2", reason=REASON)

# A sitting in a process of its own would cost as long as all of these: nnU-Net's import takes the time.
from nnunet import nnUNetTrainerUCANet as trainers  # noqa: E402

EXAMPLES = Path(__file__).parents[3] / "examples"
PLAIN = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
RESIDUAL = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
IMPORTS = ("conv_op", "norm_op", "dropout_op", "nonlin")
#: A coarse first axis, as nnU-Net plans it: pooled last, kernel 1 until then.
KERNELS = [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]]
STRIDES = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]]


def arch_kwargs(residual: bool = False, dimensions: int = 3, **changes: object) -> dict[str, object]:
    return {
        "n_stages": len(STRIDES),
        "features_per_stage": [3, 4, 5, 6],
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": [kernel[-dimensions:] for kernel in KERNELS],
        "strides": [stride[-dimensions:] for stride in STRIDES],
        "n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 2, 2, 2],
        "n_conv_per_stage_decoder": [1, 1, 1],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        **changes,
    }


def built_by(
    trainer: type, version: str, kwargs: dict, deep: bool, by_name: bool, architecture: str = PLAIN
) -> nn.Module:
    """The net as nnU-Net 2.3 to 2.6 (`old`) or 2.7 and later (`new`) asks for it."""
    manager = SimpleNamespace(
        network_arch_class_name=architecture,
        network_arch_init_kwargs=kwargs,
        network_arch_init_kwargs_req_import=IMPORTS,
    )
    first = (architecture, kwargs, IMPORTS) if version == "old" else (object(), manager)
    if by_name:  # as the predictor does
        return trainer.build_network_architecture(*first, 1, 2, enable_deep_supervision=deep)
    return trainer.build_network_architecture(*first, 1, 2, deep)


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("trainer", [trainers.nnUNetTrainerUCANet, trainers.nnUNetTrainerCSCA])
def test_both_signatures_and_deep_supervision(trainer: type, by_name: bool, version: str) -> None:
    deep = built_by(trainer, version, arch_kwargs(), True, by_name).eval()
    flat = built_by(trainer, version, arch_kwargs(), False, by_name).eval()
    flat.load_state_dict(deep.state_dict())
    x = torch.randn(2, 1, 6, 16, 24)
    lists, single = deep(x), flat(x)
    # What nnU-Net scales the labels to: the cumulative strides, without the deepest level.
    assert [tuple(out.shape) for out in lists] == [(2, 2, 6, 16, 24), (2, 2, 6, 8, 12), (2, 2, 6, 4, 6)]
    assert torch.equal(lists[0], single)


def test_ucanet_is_of_the_planned_shape() -> None:
    net = built_by(trainers.nnUNetTrainerUCANet, "new", arch_kwargs(), True, False)
    assert isinstance(net, UCANet)
    assert net.channels == (3, 4, 5, 6)
    assert net.strides == tuple(map(tuple, STRIDES[1:]))
    assert net.kernel_sizes == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert (net.norm, net.slice_dim) == ("instance", -3)


def test_a_stride_of_two_widens_a_kernel_of_one() -> None:
    kwargs = arch_kwargs(kernel_sizes=[[1, 3, 3]] * 4)
    net = built_by(trainers.nnUNetTrainerUCANet, "new", kwargs, False, False)
    assert net.kernel_sizes == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (1, 3, 3))
    assert net(torch.randn(2, 1, 6, 16, 24)).shape == (2, 2, 6, 16, 24)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("dimensions", "attention"), [(2, "ChannelCrossAttention3d"), (3, "CSCA")])
def test_nnunets_own_nets_are_wrapped(dimensions: int, attention: str, residual: bool) -> None:
    architecture = RESIDUAL if residual else PLAIN
    kwargs = arch_kwargs(residual, dimensions)
    net = built_by(trainers.nnUNetTrainerCSCA, "new", kwargs, False, True, architecture)
    wrapped = [module for module in net.modules() if isinstance(module, AttendedBlock)]
    assert [type(block.attention).__name__ for block in wrapped] == [attention] * 3
    x = torch.randn(2, 1, 6, 16, 24)[(slice(None),) * 2 if dimensions == 3 else (slice(None), slice(None), 0)]
    assert net(x).shape == (2, 2, *x.shape[2:])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            arch_kwargs(dimensions=2),
            "expected a 3D configuration, as 3d_fullres; got one of 2 dim.*nnUNetTrainerCSCA",
        ),
        (arch_kwargs(strides=[[1, 2, 2], *STRIDES[1:]]), r"first stage has stride 1; got \(1, 2, 2\); plan anew"),
    ],
)
def test_what_ucanet_cannot_be_built_for(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"nnUNetTrainerUCANet: .*{message}"):
        built_by(trainers.nnUNetTrainerUCANet, "new", kwargs, False, False)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["nnUNetTrainerUCANet", "nnUNetTrainerCSCA"])
def test_deep_supervision_is_switched_as_nnunet_does(name: str, compiled: bool) -> None:
    trainer = object.__new__(getattr(trainers, name))  # without data, plans and folders of a training
    net = built_by(type(trainer), "new", arch_kwargs(), True, False)
    trainer.network, trainer.is_ddp = torch.compile(net) if compiled else net, False
    trainer.set_deep_supervision_enabled(False)
    assert isinstance(net(torch.randn(2, 1, 6, 16, 24)), torch.Tensor)
    trainer.set_deep_supervision_enabled(True)
    assert isinstance(net(torch.randn(2, 1, 6, 16, 24)), list)


SHORT = """
import random
import numpy
import torch
from nnUNetTrainerUCANet import nnUNetTrainerCSCA, nnUNetTrainerUCANet

def short(kind):
    class Short(kind):
        def initialize(self):
            for seed in (random.seed, numpy.random.seed, torch.manual_seed):
                seed(0)
            self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 3, 1
            super().initialize()
    return type(f"{kind.__name__}Short", (Short,), {"__module__": __name__})

nnUNetTrainerUCANetShort, nnUNetTrainerCSCAShort = short(nnUNetTrainerUCANet), short(nnUNetTrainerCSCA)
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a data set of phantoms that nnU-Net has checked, planned and preprocessed."""
    root = tmp_path_factory.mktemp("nnunet")
    folders = {name: root / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "trainers")}
    for folder in folders.values():
        folder.mkdir()
    (folders["trainers"] / "short_trainers.py").write_text(SHORT)
    trainer_folder = EXAMPLES / "nnunet"
    environment = os.environ | {name: str(folders[name]) for name in list(folders)[:3]}
    environment |= {
        "nnUNet_extTrainer": f"{trainer_folder}{os.pathsep}{folders['trainers']}",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent / "src"), str(trainer_folder)]),
        "nnUNet_n_proc_DA": "1",  # 0, which would be without a process of its own, stops the planner
        "OMP_NUM_THREADS": "2",
    }
    raw = folders["nnUNet_raw"] / "Dataset501_Phantom"
    words = "--source phantom --count 5 --validation 1 --test 1 --matrix 64 --ct-slice-spacing 12 --workers 2 "
    words += "--pixels 32 --slice-spacing 8 --liver-pixels 32 --liver-slice-spacing 8"
    prepare = [sys.executable, EXAMPLES / "prepare_ltvs.py", *words.split()]
    started([*prepare, "--output", root / "set", "--export-nnunet", raw], environment)
    nnunet("plan_and_preprocess", "-d 501 --verify_dataset_integrity -c 3d_fullres 2d -np 1 -npfp 1", environment)
    shutil.copy(raw / "splits_final.json", folders["nnUNet_preprocessed"] / raw.name)
    return environment


def started(words: list[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def nnunet(command: str, arguments: str, environment: dict[str, str]) -> str:
    """One of nnU-Net's commands."""
    script = SUPPORT / "nnunet_command.py"
    return started([sys.executable, script, f"nnUNetv2_{command}", *arguments.split()], environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "configuration"),
    [
        ("nnUNetTrainerUCANetShort", "3d_fullres"),
        ("nnUNetTrainerCSCAShort", "3d_fullres"),
        ("nnUNetTrainerCSCAShort", "2d"),
    ],
)
def test_from_phantoms_to_dice(planned: dict[str, str], tmp_path: Path, trainer: str, configuration: str) -> None:
    nnunet("train", f"501 {configuration} 0 -tr {trainer} -device cpu", planned | {"nnUNet_n_proc_DA": "0"})
    results = Path(planned["nnUNet_results"]) / "Dataset501_Phantom" / f"{trainer}__nnUNetPlans__{configuration}"
    (log,) = (results / "fold_0").glob("training_log*.txt")
    losses = [float(line.split()[-1]) for line in log.read_text().splitlines() if "train_loss" in line]
    assert len(losses) == 2
    assert losses[1] < losses[0]

    raw = Path(planned["nnUNet_raw"]) / "Dataset501_Phantom"
    validation = json.loads((results / "fold_0" / "validation" / "summary.json").read_text())["metric_per_case"]
    (case,) = (Path(entry["prediction_file"]).name for entry in validation)
    theirs = validation[0]["metrics"]
    ours = dice_of_labels(results / "fold_0" / "validation" / case, raw / "labelsTr" / case)
    assert {label: theirs[str(label)]["Dice"] for label in ours} == pytest.approx(ours)

    where = f"-i {raw / 'imagesTs'} -o {tmp_path} -d 501 -c {configuration} -f 0 -tr {trainer}"
    nnunet("predict", f"{where} -device cpu -npp 1 -nps 1", planned)
    (reference,) = (raw / "labelsTs").iterdir()
    scores = dice_of_labels(tmp_path / reference.name, reference)
    print(f"{trainer}, {configuration}, six steps: Dice {scores}")
    assert all(score is not None for score in scores.values()), "the reference has every label"


def dice_of_labels(predicted: Path, reference: Path) -> dict[int, float]:
    """Dice of each label; both files have to lie on one grid."""
    images = read_labels(predicted), read_labels(reference)
    assert same_grid(*images)
    found, true = map(sitk.GetArrayFromImage, images)
    return {label: dice(found == label, true == label) for label in (1, 2, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nnUNetTrainerUCANet", "nnUNetTrainerCSCA"])
def test_nnunet_finds_the_trainers(planned: dict[str, str], name: str) -> None:
    find = "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find"
    script = (
        f"import nnunet_command as c; c.declare_missing_operators(); {find}; print('found', find({name!r}).__name__)"
    )
    paths = os.pathsep.join([str(EXAMPLES.parent / "src"), str(SUPPORT)])
    assert f"found {name}" in started([sys.executable, "-c", script], planned | {"PYTHONPATH": paths})
