"""Every setting of training; the command line is generated from it.

Defaults are the paper's values where it states them, except for those that docs/understand/choices.md lists.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from crossattn3d._layers.norms import Norm
from crossattn3d.functional import ScoreNorm
from ltvs.model.computing import Precision, best_device, check_device, check_precision
from ltvs.model.networks import OPTIONS, NetworkSettings, Skip, network_settings
from ltvs.model.stages import CLASSES, PATCH, STAGES, Stage
from ltvs.model.systems.registry import LEVELS, Network
from ltvs.phantom.parts import Part
from ltvs.runtime.choices import check_choices
from ltvs.runtime.errors import InputError

Loss = Literal["dice", "dice_ce"]
DiceOver = Literal["batch", "patch"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of training."""

    data: Path
    """Prepared data set: a folder that prepare_ltvs.py wrote."""
    output: Path
    """Folder of the run, with a folder for each stage.
    To resume an interrupted run, give the same command again."""
    split: Path = Path("split.json")
    """File that names the training, validation and test cases.
    It is split.json, fold1.json, ... of the data set, or your own."""
    stage: Literal["1", "2", "both"] = "both"
    """Stage to train: 1 finds the liver (--liver-network), 2 finds the vessels and tumors in it (--network)."""
    network: Network = "ucanet"
    """Network of stage 2: any of the ten systems in the paper's Table 1."""
    liver_network: Network = "unet3d"
    """Network of stage 1."""
    pretrained: Path | None = None
    """Published weights that transunet starts from, R50+ViT-B_16.npz."""
    init: Path | None = None
    """Run whose best weights each stage starts from, instead of new ones. Its networks have to be the same."""
    epochs: int = 300
    """Number of passes over all patches of the training cases."""
    batch_size: int = 4
    """Patches per step, in total over all devices and micro-batches."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    schedule: Schedule = "constant"
    """Learning rate over the run: constant, or falling to 0 along half a cosine."""
    clip_norm: float = 0.0
    """Largest norm of the gradients of all weights together; 0 for no limit.
    Before each step, longer gradients are scaled down to it."""
    ema: float = 0.0
    """Decay per step of a moving average of the weights, such as 0.999; 0 for no average.
    Training validates and keeps the averaged weights."""
    loss: Loss = "dice"
    """Dice loss alone, or the sum of Dice loss and cross-entropy."""
    dice_over: DiceOver = "batch"
    """Compute the Dice loss over all patches of a micro-batch together, or as the mean over its patches."""
    background_weight: float = 1.0
    """Weight of background in the cross-entropy (dice_ce only). Every other class has weight 1."""
    rotation: float = 15.0
    """Largest random rotation about the body axis, degrees in either direction; 0 for none."""
    jitter: float = 4.0
    """Largest random shift of the liver surface that stage 2 sees, mm; 0 for none.
    The shifts imitate errors of stage 1."""
    augment: bool = False
    """Also vary the contrast, noise, sharpness, resolution, scale and shape of the patches at random."""
    patch: tuple[int, int, int] = PATCH
    """Size of a patch: slices, rows and columns, in voxels of the prepared grid."""
    overlap: tuple[int, int, int] = (16, 0, 0)
    """Overlap of neighboring patches along slices, rows and columns, in voxels."""
    render: int = 0
    """Number of patches to render from each map of tissues in an epoch; 0 trains on prepared CTs instead.
    Each patch gets new contrasts, lesions, shapes and scanners.
    The data set needs maps (prepare_ltvs.py --maps). --rotation does not apply."""
    fixed: tuple[Part, ...] = ()
    """Properties of the rendered patches that do not vary. They are as in the phantoms of one cohort."""
    foreground: float = 0.0
    """Share of patches, 0 to 1, drawn around a random voxel of a random foreground class, since tumors are small."""
    channels: tuple[int, ...] = (32, 64, 128, 256)
    """Number of channels at each level of unet3d and ucanet, finest level first."""
    skip: Skip = "csca"
    """Skip connections of ucanet: both attentions (csca), channel-wise alone (cca) or slice-wise alone (sca)."""
    score_norm: ScoreNorm = "instance"
    """Normalization of the attention scores in ucanet, before the softmax."""
    residual: bool = True
    """In ucanet, add the decoder map to the result of the attention."""
    gated: bool = False
    """In ucanet, pass the result of the attention through a gate per channel and voxel. The paper has no gate."""
    norm: Norm = "batch"
    """Normalization after each convolution of unet3d and ucanet."""
    validate_every: int = 5
    """Epochs between validations. Training keeps the weights with the best validation Dice."""
    calibrate: bool = False
    """At the end, shift the logit of each class in the best network to maximize Dice on the validation cases."""
    seed: int = 0
    """Seed of the weights, of the order of the patches and of the augmentation."""
    seeds: int = 1
    """Number of runs, with consecutive seeds that begin at --seed. Each run has its own folder.
    summary.json holds the mean scores."""
    workers: int = 2
    """Processes per device that read and rotate patches. With 0, the training process does it."""
    precision: Precision = "32"
    """Precision of the layers, in training and in prediction.
    bf16-mixed takes 0.6 of the memory, and less time on processors with instructions for it."""
    accumulate: int = 1
    """Micro-batches into which each device splits its share of a batch (gradient accumulation), to save memory."""
    use_checkpoint: bool = False
    """Recompute activations of unet3d and ucanet in the backward pass instead of keeping them.
    This takes less memory and more time."""
    compile: bool = False
    """Compile the network first. This takes minutes at the start and may save time afterwards."""
    deterministic: bool = False
    """Use deterministic algorithms only. On CPU, training always does."""
    device: str = field(default_factory=best_device)
    """Device to train on: cpu, cuda, cuda:1, ..."""
    devices: int = 1
    """Number of GPUs to train on, per machine. On CPU, number of processes."""
    nodes: int = 1
    """Number of machines. torchrun or SLURM has to start this command on each of them."""
    sync_batch_norm: bool = False
    """Compute the statistics of --norm batch over all GPUs together, not on each GPU alone."""
    save_every: float = 5.0
    """Minutes between checkpoints. Training also writes one before and after each validation."""
    estimate: bool = False
    """Time a few steps, print how long the whole training would take, and write nothing."""

    def __post_init__(self) -> None:
        check_choices(self)
        one = ("epochs", "batch_size", "validate_every", "seeds", "accumulate", "devices", "nodes")
        none = ("workers", "rotation", "jitter", "render", "seed", "save_every")
        for name, bound in (dict.fromkeys(one, 1) | dict.fromkeys(none, 0)).items():
            if getattr(self, name) < bound:
                raise InputError(f"--{name.replace('_', '-')}: expected {bound} or more; got {getattr(self, name)}")
        check_device(self.device, self.devices)
        _check_divides(self.batch_size, self.devices * self.nodes, self.accumulate)
        if self.sync_batch_norm and not self.device.startswith("cuda"):
            raise InputError(
                f"--sync-batch-norm: expected GPUs, PyTorch has it for no other device; got --device {self.device}; "
                "leave it out, or use --norm instance, which needs none"
            )
        self._check_networks()
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate: expected more than 0; got {self.learning_rate}")
        if not self.clip_norm >= 0:
            raise InputError(f"--clip-norm: expected 0, for any norm, or more; got {self.clip_norm}")
        if not 0 <= self.ema < 1:
            raise InputError(f"--ema: expected 0, for no average, or a decay below 1; got {self.ema}")
        if not self.background_weight >= 0:
            raise InputError(f"--background-weight: expected 0 or more; got {self.background_weight}")
        if self.fixed and not self.render:
            raise InputError(f"--fixed {' '.join(self.fixed)}: expected with --render only, whose patches it is about")
        if self.render and (self.augment or self.foreground):
            raise InputError(
                "--render: expected without --augment and --foreground, which rendered patches do not need"
            )
        if not 0 <= self.foreground <= 1:
            raise InputError(f"--foreground: expected a share from 0 to 1; got {self.foreground}")
        if any(not 0 <= o < p for o, p in zip(self.overlap, self.patch, strict=True)):
            raise InputError(f"--overlap: expected 0 or more and less than the patch {self.patch}; got {self.overlap}")
        if self.init is not None and self.init.resolve() == self.output.resolve():
            raise InputError(
                "--init: expected another run than --output, as a run is not written to by those that begin with it; "
                f"got {self.init} for both; give another --output"
            )

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages to train, in order."""
        return tuple(stage for stage in STAGES if self.stage in (str(stage), "both"))

    def network_of(self, stage: Stage) -> NetworkSettings:
        """Return the settings of a stage's network."""
        network = self.liver_network if stage == 1 else self.network
        options = {name: getattr(self, name) for name in OPTIONS["ucanet"]}
        return network_settings(len(CLASSES[stage]), network, **options)

    def _check_networks(self) -> None:
        """Raise InputError if the networks lack an option that is given, or a precision."""
        trained = [self.network_of(stage).network for stage in self.stages()]
        for network in trained:
            levels, depth = LEVELS[network], self.patch[0]
            if network in OPTIONS:
                levels = len(self.channels)
            else:
                # Others pad.
                depth += -depth % 2 ** (levels - 1)
            check_precision(self.precision, self.device, depth, levels)
        for option in fields(self):
            has = [network for network, options in OPTIONS.items() if option.name in options]
            if has and getattr(self, option.name) != option.default and not set(has) & set(trained):
                raise InputError(
                    f"--{option.name.replace('_', '-')}: expected with {' or '.join(has)} only; got it with "
                    f"{' and '.join(dict.fromkeys(trained))}; leave it out"
                )
        if self.use_checkpoint and (others := [network for network in trained if network not in OPTIONS]):
            raise InputError(
                f"--use-checkpoint: expected with {' or '.join(OPTIONS)} only; got it with {others[0]}; leave it out, "
                "and save memory by --accumulate or a smaller --patch"
            )
        if self.pretrained is not None and ("transunet" not in trained or self.init is not None):
            got = " and ".join(dict.fromkeys(trained)) if "transunet" not in trained else f"--init {self.init}"
            raise InputError(
                f"--pretrained {self.pretrained}: expected with transunet and without --init, since a network begins "
                f"with one set of weights; got it with {got}; leave one of them out"
            )


def _check_divides(batch_size: int, devices: int, accumulate: int) -> None:
    """Raise InputError if the devices of all machines cannot share a batch evenly, each in `accumulate` parts."""
    if batch_size % (devices * accumulate):
        raise InputError(
            f"--batch-size {batch_size}: expected a multiple of {devices * accumulate}, since it is shared by "
            f"{devices} {'devices' if devices > 1 else 'device'} in {accumulate} "
            f"{'parts' if accumulate > 1 else 'part'} each (--devices, --nodes, --accumulate)"
        )
