"""Say how much the scores of different seeds differ, and how small a difference the study can detect.

Each study is a file of `benchmarks.accuracy.collect`. The spread is measured on the runs of one variant in it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from benchmarks import pages
from benchmarks.accuracy.collect import COMPARED, by_seed
from benchmarks.accuracy.run_files import Json
from benchmarks.accuracy.statistics import LEVEL, mean_sd
from ltvs.runtime.files import read_json

#: Chance of finding a difference of the smallest detectable size.
POWER = 0.8
#: Seeds of each variant for which the table gives that size.
SEEDS = (3, 10)


def smallest_difference(deviation: float, seeds: int, power: float = POWER) -> float:
    """Return the smallest difference of two variants' means that a t-test of their seeds finds with this power.

    Seeds of the two are taken as independent, and their deviations as equal: sqrt(2 / seeds) of it is the standard
    error of the difference. Pairs of seeds leave seeds - 1 degrees of freedom.

    Args:
        deviation: standard deviation of one variant's means over seeds.
        seeds: of each variant.
        power: chance that the interval lies above 0.
    """
    freedom = seeds - 1
    critical = stats.t.ppf((1 + LEVEL) / 2, freedom)

    def missing(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - power

    shift = optimize.brentq(missing, 0.0, 100.0)
    return float(shift * deviation * np.sqrt(2 / seeds))


def power_table(studies: dict[str, Json], variant: str, data: str = "all") -> str:
    """Return Dice of a variant, its deviation over seeds, and the detectable differences, by study and class.

    Raises:
        ValueError: a study has less than two runs of the variant.
    """
    rows = []
    for name, whole in studies.items():
        for label, score in COMPARED:
            found = by_seed(whole, data, variant, label, score)
            if len(found) < 2:
                raise ValueError(f"{name}: expected two or more runs of {variant!r}; got {len(found)}; see --variant")
            middle, deviation = (100 * value for value in mean_sd(np.array(list(found.values()))))
            smallest = {f"detectable with {n} seeds": f"{smallest_difference(deviation, n):.1f}" for n in SEEDS}
            about = {"setting": name, "class": label, "seeds": str(len(found)), "Dice": f"{middle:.1f}"}
            rows.append(about | {"deviation": f"{deviation:.2f}"} | smallest)
    return pages.table_of(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.power", description=__doc__)
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="file from benchmarks.accuracy.collect")
    parser.add_argument("--variant", default="concat", help="variant whose seeds are compared (default: concat)")
    arguments = parser.parse_args()
    try:
        table = power_table({path.stem: read_json(path) for path in arguments.studies}, arguments.variant)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
