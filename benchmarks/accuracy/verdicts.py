"""Decide whether a skip is worth having: it beats fixed skips, but no longer once its maps and gates are frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.cases import RENDERED
from benchmarks.accuracy.collect import by_seed
from benchmarks.accuracy.run_files import FROZEN, SIZE, Json
from benchmarks.accuracy.statistics import Array, Comparison, compare, mean_sd

#: The skips that do not adapt, which a gain is measured against: the usual one, and a learned mixture of channels.
BASELINES = ("concat", "static")
LABELS = ("tumor", "vessel")
#: Seeds that a verdict takes; those after which variants are dropped; and the points of Dice that one may lose in a
#: class and yet go on.
ENOUGH, FIRST, MARGIN = 10, (0, 1, 2), 2.0


@dataclass(frozen=True)
class Verdict:
    """What the study says of a variant in one class of voxels, over the seeds that both of a pair have.

    Args:
        less: the variant less each baseline; None without common seeds.
        less_frozen: the variant less itself with maps and gates frozen to their means; None where nothing adapts.
        frozen_less: itself frozen less each baseline.
    """

    less: Mapping[str, Comparison | None]
    less_frozen: Comparison | None
    frozen_less: Mapping[str, Comparison | None]

    @property
    def gains(self) -> bool:
        """Whether both baselines and the frozen net are worse, and the frozen net is not better than both baselines."""
        ahead = all(_above(one) for one in (*self.less.values(), self.less_frozen))
        return ahead and not all(_above(one) for one in self.frozen_less.values())

    @property
    def loses(self) -> bool:
        """Whether the interval against a baseline is below 0."""
        return any(one is not None and one.interval[1] < 0 for one in self.less.values())

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough for a verdict."""
        return all(one is not None and one.seeds >= ENOUGH for one in self.less.values())


def verdicts(whole: Json, variant: str, data: str = "all") -> dict[str, Verdict]:
    """Return the verdict on a variant for each class."""
    found = {}
    for label in LABELS:
        own, frozen = (_scores(whole, variant, label, size, data) for size in (SIZE, FROZEN))
        others = {name: _scores(whole, name, label, SIZE, data) for name in BASELINES if name != variant}
        found[label] = Verdict(
            {name: _paired(own, other) for name, other in others.items()},
            _paired(own, frozen),
            {name: _paired(frozen, other) for name, other in others.items()},
        )
    return found


def difference(
    whole: Json, variant: str, other: str, label: str, size: str = SIZE, data: str = "all"
) -> Comparison | None:
    """Return a variant less another one, with patches of one size; None without common seeds or for itself."""
    if variant == other:
        return None
    return _paired(*(_scores(whole, name, label, size, data) for name in (variant, other)))


def counts(of_variant: Mapping[str, Verdict]) -> bool | None:
    """Return whether a variant gains in one class and loses in none; None while seeds are too few to say."""
    if not all(one.enough for one in of_variant.values()):
        return None
    return any(one.gains for one in of_variant.values()) and not any(one.loses for one in of_variant.values())


def goes_on(whole: Json, variant: str, data: str = "all") -> bool | None:
    """Return whether a variant is worth more seeds after the first ones; None if one of these is missing.

    Its mean is above both baselines' in one class, and not more than `MARGIN` points below either in the other.
    """
    lead = {label: lead_of(whole, variant, label, data) for label in LABELS}
    if not np.isfinite(list(lead.values())).all():
        return None
    return any(
        lead[label] > 0 and all(other > -MARGIN for name, other in lead.items() if name != label) for label in LABELS
    )


def lead_of(whole: Json, variant: str, label: str, data: str = "all") -> float:
    """Return the points by which the mean of the first seeds is above the better baseline's; NaN if one is missing."""
    means = {name: first_mean(whole, name, label, data) for name in (variant, *BASELINES)}
    return means[variant] - float(np.max([means[name] for name in BASELINES]))


def first_mean(whole: Json, variant: str, label: str, data: str = "all") -> float:
    """Return mean Dice over the first seeds, percent; NaN if one is missing."""
    found = by_seed(whole, data, variant, label, "dice", SIZE)
    if not set(FIRST) <= set(found):
        return float("nan")
    return 100 * mean_sd(np.array([found[seed] for seed in FIRST]))[0]


def by_patient(cases: Sequence[str], scores: Array) -> Array:
    """Return the mean of each patient's scores; NaN where it has none. A scene is named rendered-PATIENT-NUMBER."""
    patients = np.array([case.rsplit("-", 1)[0] if case.startswith(RENDERED) else case for case in cases])
    known = np.isfinite(scores)
    return np.array([
        scores[known & (patients == patient)].mean() if (known & (patients == patient)).any() else np.nan
        for patient in dict.fromkeys(patients)
    ])  # fmt: skip


def _scores(whole: Json, variant: str, label: str, size: str, data: str) -> dict[int, Array]:
    """Return Dice by seed, a value per patient."""
    found = by_seed(whole, data, variant, label, "dice", size)
    return {seed: by_patient(whole["cases"], dice) for seed, dice in found.items()}


def _paired(a: Mapping[int, Array], b: Mapping[int, Array]) -> Comparison | None:
    seeds = [seed for seed in a if seed in b]
    return compare(np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])) if seeds else None


def _above(one: Comparison | None) -> bool:
    return one is not None and one.interval[0] > 0
