"""Every setting of training; the command line is generated from it.

Defaults are the paper's where it prints a value, but for those that docs/understand/choices.md lists.
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
    """Prepared data set, a folder written by prepare_ltvs.py."""
    output: Path
    """Folder of the run, with a folder for each stage; the same command resumes an interrupted run."""
    split: Path = Path("split.json")
    """File with the cases that train, validate and test: split.json, fold1.json, ... of the data set, or your own."""
    stage: Literal["1", "2", "both"] = "both"
    """1 finds the liver (--liver-network), 2 the vessels and tumors in it (--network)."""
    network: Network = "ucanet"
    """Network of stage 2: any of the ten systems of the paper's Table 1."""
    liver_network: Network = "unet3d"
    """Network of stage 1."""
    pretrained: Path | None = None
    """Published weights that transunet begins with, R50+ViT-B_16.npz."""
    init: Path | None = None
    """Run whose best weights each stage begins with, instead of new ones; it needs the same networks."""
    epochs: int = 300
    """Passes over all patches of the training cases."""
    batch_size: int = 4
    """Patches in a step, in total over all devices and micro-batches."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    schedule: Schedule = "constant"
    """Learning rate over the run: constant, or falling to 0 as half a cosine."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together, to which longer ones are scaled before each step; 0 for any."""
    ema: float = 0.0
    """Decay per step of a moving average of the weights, which is validated and kept, such as 0.999; 0 for none."""
    loss: Loss = "dice"
    """Dice loss, or the sum of Dice and cross-entropy."""
    dice_over: DiceOver = "batch"
    """Dice over all patches of a micro-batch together, or the mean of the Dice of each patch."""
    background_weight: float = 1.0
    """Weight of background in the cross-entropy (dice_ce only); every other class weighs 1."""
    rotation: float = 15.0
    """Largest random rotation about the body axis, degrees to either side; 0 for none."""
    jitter: float = 4.0
    """Largest random shift of the liver surface that stage 2 is shown, mm, to imitate errors of stage 1; 0 for none."""
    augment: bool = False
    """Also vary contrast, noise, sharpness, resolution, scale and shape of the patches at random."""
    patch: tuple[int, int, int] = PATCH
    """Patch as slices, rows, columns; voxels of the prepared grid."""
    overlap: tuple[int, int, int] = (16, 0, 0)
    """Overlap of neighboring patches along slices, rows, columns; voxels."""
    render: int = 0
    """Patches of each map of tissues in an epoch, rendered on the fly with other contrasts, lesions, shapes and
    scanners every time, instead of patches of prepared CTs; needs prepare_ltvs.py --maps; --rotation does not apply;
    0 for none."""
    fixed: tuple[Part, ...] = ()
    """Parts of the rendered patches that do not vary, but are as in the phantoms of one cohort."""
    foreground: float = 0.0
    """Share of patches around a random voxel of a random foreground class, since tumors are small; 0 to 1."""
    channels: tuple[int, ...] = (32, 64, 128, 256)
    """Width of each level of unet3d and ucanet, finest first."""
    skip: Skip = "csca"
    """Skip connections of ucanet: both attentions (csca), or the channel-wise (cca) or slice-wise (sca) one alone."""
    score_norm: ScoreNorm = "instance"
    """Normalization of the attention's scores before the softmax in ucanet."""
    residual: bool = True
    """Add the decoder map to the attention's result in ucanet."""
    gated: bool = False
    """Let the attention's result pass a gate for every channel and voxel in ucanet, which the paper does not have."""
    norm: Norm = "batch"
    """Normalization after each convolution of unet3d and ucanet."""
    validate_every: int = 5
    """Epochs between validations; the best weights by validation Dice are kept."""
    calibrate: bool = False
    """At the end, shift the best network's logit of each class to maximize Dice on the validation cases."""
    seed: int = 0
    """Seed of the weights, the order of patches and the augmentation."""
    seeds: int = 1
    """Number of runs, with consecutive seeds from --seed on, each in its own folder; mean scores go to summary.json."""
    workers: int = 2
    """Processes per device that read and rotate patches; with 0, the training process does it."""
    precision: Precision = "32"
    """Precision of the layers, here and in prediction; bf16-mixed takes 0.6 of the memory, and less time on processors
    with instructions for it."""
    accumulate: int = 1
    """Micro-batches into which each device splits its share of a batch (gradient accumulation), to save memory."""
    use_checkpoint: bool = False
    """Recompute activations of unet3d and ucanet in the backward pass instead of keeping them: less memory, more
    time."""
    compile: bool = False
    """Compile the network first: takes minutes at the start, and may be faster afterwards."""
    deterministic: bool = False
    """Use deterministic algorithms only; on CPU they always are."""
    device: str = field(default_factory=best_device)
    """Device to train on: cpu, cuda, cuda:1, ..."""
    devices: int = 1
    """GPUs, or processes on CPU, to train on, per machine."""
    nodes: int = 1
    """Number of machines; torchrun or SLURM has to start this command on each of them."""
    sync_batch_norm: bool = False
    """Compute the statistics of --norm batch over all GPUs together, not on each GPU alone."""
    save_every: float = 5.0
    """Minutes between checkpoints; one is also written before and after each validation."""
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
