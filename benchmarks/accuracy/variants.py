"""The variants by name, and the groups in which they are compared.

A name is a skip, followed by options after commas; it is spelled as the committed results spell it:

    concat | add | static | no-skip | attention-gate | gated[-static,-csca,-cca] | selective | windowed | axial
    {csca,cca,sca}-{none,sqrt,mean,cosine,instance}[+residual][+temperature][+centered][+axes][+quiet][+concat][+fine][+coarse]
    ,interpolate  ,up-norm  ,norm=batch  ,norm=instance
"""

import zlib
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.accuracy.skips.axial import AxialSliceAttention
from benchmarks.accuracy.skips.changed_csca import AllAxes, BesideConcat, QuietCSCA, at_widths
from benchmarks.accuracy.skips.controls import AddSkip, AttentionGate, NoSkip, StaticSkip
from benchmarks.accuracy.skips.gated import GatedMixture
from benchmarks.accuracy.skips.gated_attention import GatedAttention
from benchmarks.accuracy.skips.selective import SelectiveGate
from benchmarks.accuracy.skips.studied_csca import StudiedCSCA
from benchmarks.accuracy.skips.windowed import WindowedChannelAttention
from benchmarks.accuracy.task import Task
from crossattn3d import UNet3d
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.ucanet import SKIPS
from crossattn3d.unet import ConcatSkip, SkipFactory
from ltvs.model.stages import CLASSES

#: Skips that have no options.
PLAIN_SKIPS: dict[str, SkipFactory] = {
    "concat": ConcatSkip,
    "add": AddSkip,
    "static": StaticSkip,
    "no-skip": NoSkip,
    "attention-gate": AttentionGate,
    "gated": GatedMixture,
    "gated-static": partial(GatedMixture, attends=False),
    "gated-csca": partial(GatedAttention, name="csca"),
    "gated-cca": partial(GatedAttention, name="cca"),
    "selective": SelectiveGate,
    "windowed": WindowedChannelAttention,
    "axial": AxialSliceAttention,
}
#: Changes that may follow the normalization of an attention's scores.
CHANGES = ("residual", "temperature", "centered", "axes", "quiet", "concat", "fine", "coarse")
#: Skips in place of CSCA by the changes that ask for them; they exclude each other.
OF_CSCA: dict[SkipFactory, set[str]] = {
    AllAxes: {"axes"}, QuietCSCA: {"quiet"}, StudiedCSCA: {"temperature", "centered"},
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "interpolate": {"upsample": "interpolate"},
    "up-norm": {"up_norm": True},
    "norm=batch": {"norm": "batch"},
    "norm=instance": {"norm": "instance"},
}

#: The form of the package's defaults, on which the tables after the first one build.
CHOSEN = "instance+residual"

_BEST = f"csca-{CHOSEN}"
GROUPS: dict[str, tuple[str, ...]] = {
    "scores": (
        "concat",
        *(f"csca-{norm}{residual}" for norm in SCORE_NORMS for residual in ("", "+residual")),
        *(f"csca-{norm}+{change}" for change in ("temperature", "centered") for norm in ("mean", "instance")),
        *(f"csca-instance+residual+{change}" for change in ("temperature", "centered")),
    ),
    "layers": ("concat", *(f"{_BEST}{option}" for option in ("", ",interpolate", ",up-norm", ",norm=instance")),
               "concat,norm=instance"),
    "table-2": ("concat", *(f"{form}-{norm}" for norm in (CHOSEN, "none") for form in ("sca", "cca", "csca")),
                "no-skip", "add"),
    "mending": ("concat", _BEST, f"{_BEST}+axes", "csca-instance+concat",
                *(f"{_BEST}+{change}" for change in ("fine", "coarse", "quiet"))),
    "skips": ("concat", "static", _BEST, "add", "attention-gate", "gated", "selective", "windowed", "axial",
              "gated-static", "gated-csca", "gated-cca"),
}  # fmt: skip

#: Titles of the tables of the first study, by group.
TITLES = {
    "scores": "Score normalization and residual",
    "layers": "Up-sampling and normalization layers",
    "table-2": "The paper's Table 2, with controls",
    "mending": "Changes to CSCA",
}


def make(variant: str, task: Task, seed: int) -> UNet3d:
    """Return the network of a variant; layers that two variants share start with the same weights.

    Raises:
        ValueError: there is no such variant.
    """
    skip, *options = variant.split(",")
    settings: dict[str, Any] = {"norm": task.norm, "skip": _skip(variant, skip, task.channels)}
    for option in options:
        if option not in OPTIONS:
            raise ValueError(f"variant {variant!r}: expected options of {', '.join(OPTIONS)}; got {option!r}")
        settings |= OPTIONS[option]
    net = UNet3d(1, len(CLASSES[2]), task.channels, **settings)
    _start(net, seed)
    return net


def _skip(variant: str, name: str, widths: tuple[int, ...]) -> SkipFactory:
    if name in PLAIN_SKIPS:
        return PLAIN_SKIPS[name]
    form, _, rest = name.partition("-")
    norm, *changes = rest.split("+")
    if form not in SKIPS or norm not in SCORE_NORMS or not set(changes) <= set(CHANGES):
        known = f"{', '.join(PLAIN_SKIPS)} or {{{','.join(SKIPS)}}}-NORM with +{', +'.join(CHANGES)}"
        raise ValueError(f"variant {variant!r}: expected {known}; got {name!r}")
    of_csca = [kind for kind, its_changes in OF_CSCA.items() if its_changes & set(changes)]
    if len(of_csca) > (form == "csca") or {"fine", "coarse"} <= set(changes):
        raise ValueError(
            f"variant {variant!r}: expected, with csca, one of +axes, +quiet, or +temperature and +centered; and one "
            f"of +fine, +coarse; got {name!r}"
        )
    kind = next(iter(of_csca), SKIPS[form])
    factory: SkipFactory = partial(kind, score_norm=norm, residual="residual" in changes)
    if kind is StudiedCSCA:
        factory = partial(factory, temperature="temperature" in changes, centered="centered" in changes)
    if "concat" in changes:
        factory = partial(BesideConcat, make=factory)
    for change, levels in (("fine", widths[:1]), ("coarse", widths[1:-1])):
        if change in changes:
            factory = partial(at_widths, widths=levels, make=factory)
    return factory


def _start(net: nn.Module, seed: int) -> None:
    """Draw each layer's weights from its own generator, seeded by the seed and the layer's name."""
    for name, module in net.named_modules():
        if hasattr(module, "reset_parameters"):
            torch.manual_seed(zlib.crc32(name.encode(), seed))
            module.reset_parameters()
    for module in net.modules():
        if isinstance(module, QuietCSCA):
            module.quieten()
