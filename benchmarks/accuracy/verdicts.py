"""Whether a skip is worth having: better than a fixed skip, and only while its attention or gate adapts."""

from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.collect import by_seed
from benchmarks.accuracy.run_files import FROZEN, SIZE, Json
from benchmarks.accuracy.statistics import Comparison, compare, mean_sd

#: The skips that do not adapt, which a gain is measured against: the usual one, and CSCA's with fixed weights.
BASELINES = ("concat", "static")
LABELS = ("tumor", "vessel")
#: The seeds after which variants are dropped, and the points of Dice that one may lose in a class and yet go on.
FIRST, MARGIN = (0, 1, 2), 2.0


@dataclass(frozen=True)
class Verdict:
    """What the study says of a variant in one class of voxels.

    Args:
        less: the variant less each baseline, over the seeds that both have; None without such seeds.
        frozen: the variant less itself with maps and gates frozen to their means; None where nothing adapts.
    """

    less: dict[str, Comparison | None]
    frozen: Comparison | None

    @property
    def gains(self) -> bool:
        """Whether the baselines and the frozen net are worse, with intervals above 0."""
        found = [*self.less.values(), self.frozen]
        return all(one is not None and one.interval[0] > 0 for one in found)

    @property
    def loses(self) -> bool:
        """Whether the interval against a baseline is below 0."""
        return any(one is not None and one.interval[1] < 0 for one in self.less.values())


def verdicts(whole: Json, variant: str, data: str = "all") -> dict[str, Verdict]:
    """Return the verdict on a variant for each class."""
    found = {}
    for label in LABELS:
        own = by_seed(whole, data, variant, label, "dice")
        less = {name: _paired(own, by_seed(whole, data, name, label, "dice")) for name in BASELINES if name != variant}
        found[label] = Verdict(less, _paired(own, by_seed(whole, data, variant, label, "dice", FROZEN)))
    return found


def counts(of_variant: dict[str, Verdict]) -> bool:
    """Return whether a variant gains in one class and loses in none."""
    return any(one.gains for one in of_variant.values()) and not any(one.loses for one in of_variant.values())


def goes_on(whole: Json, variant: str, data: str = "all") -> bool:
    """Return whether a variant is worth more seeds after the first ones.

    Its mean is above both baselines' in one class, and not more than `MARGIN` points below either in the other.
    """
    lead = {label: lead_of(whole, variant, label, data) for label in LABELS}
    return any(
        lead[label] > 0 and all(other > -MARGIN for name, other in lead.items() if name != label) for label in LABELS
    )


def lead_of(whole: Json, variant: str, label: str, data: str = "all") -> float:
    """Return the points by which the mean of the first seeds is above the better baseline's."""
    means = {name: first_mean(whole, name, label, data) for name in (variant, *BASELINES)}
    return means[variant] - max(means[name] for name in BASELINES)


def first_mean(whole: Json, variant: str, label: str, data: str = "all") -> float:
    """Return mean Dice over the first seeds, percent; NaN if one is missing."""
    found = by_seed(whole, data, variant, label, "dice", SIZE)
    if not set(FIRST) <= set(found):
        return float("nan")
    return 100 * mean_sd(np.array([found[seed] for seed in FIRST]))[0]


def _paired(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> Comparison | None:
    seeds = [seed for seed in a if seed in b]
    return compare(np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])) if seeds else None
