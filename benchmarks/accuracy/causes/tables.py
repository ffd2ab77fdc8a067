"""`python -m benchmarks.accuracy.causes.tables`: what the nets of the study do, into docs/study.md, and their maps."""

import json
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev

import numpy as np

from benchmarks import marks
from benchmarks.accuracy.causes.figure import draw
from benchmarks.accuracy.causes.found import CALIBERS, KINDS, TUMOR, VESSEL
from benchmarks.accuracy.reading import Json
from benchmarks.accuracy.tables import DOCS, HALVES, RESULT
from benchmarks.accuracy.variants import CHOSEN

FILE = RESULT.with_name("causes.json")
PLOT = DOCS / "images" / "attention.svg"
MAKER = "benchmarks.accuracy.causes.tables"
LABELS = ("vessel", "tumor")
#: Whose maps are drawn.
DRAWN = ("csca-none", "csca-instance", f"csca-{CHOSEN}")

NOTES = """\
Of nets trained on all cases, means over seeds (and standard deviation), over the same test cases.

**Found** is the share of the voxels of a kind that a net finds, of all cases together. A caliber is the width of the
widest ball in the vessel that holds the voxel or ends beside it; a voxel is 1.8 to 2.4 mm wide and 2.5 mm high. A tumor
is isodense if what the net sees of it is on average within 10 HU of the liver; how many there are is in the headings.
*Taken for* is the share of a class's voxels.

**Gradient handed on** is the norm of what a skip connection O = f(U, E) hands back to the decoder map U, or to the
encoder map E, over the norm of what arrives at O; from the finest skip to the coarsest, means over 16 batches.

**Frozen** means that every attention map is replaced by its mean over 16 batches of the training cases, so that
attention is a fixed mixture of channels and slices, whatever it sees. **Added** is the root mean square of what each
half adds over that of U, from the finest skip to the coarsest.
"""


def results(whole: Json) -> str:
    """All of it as Markdown."""
    nets = by_variant(whole)
    made = {
        "What is found": found_table(nets),
        "Gradient handed on": gradients_table(nets),
        "Attention frozen to its mean": frozen_table(nets),
    }
    picture = f"![Mean attention maps of three variants](images/{PLOT.name})\n"
    caption = "Mean attention maps of one seed, white at 0, black at the largest weight of each map.\n"
    return "\n".join([NOTES, *(f"### {title}\n\n{table}" for title, table in made.items()), picture, caption])


def by_variant(whole: Json) -> dict[str, list[Json]]:
    """The nets of each variant."""
    names = dict.fromkeys(net["variant"] for net in whole["nets"])
    return {name: [net for net in whole["nets"] if net["variant"] == name] for name in names}


def found_table(nets: dict[str, list[Json]]) -> str:
    """Recall by caliber and brightness, and what the two classes are taken for."""
    some = next(iter(nets.values()))[0]["found"]["tumors"]
    heads = ["variant", "seeds", *(f"vessels {name}" for name in CALIBERS),
             *(f"{kind} tumors ({some[kind][2]})" for kind in KINDS), "vessel taken for tumor",
             "tumor taken for vessel"]  # fmt: skip
    rows = []
    for variant, group in nets.items():
        found = [net["found"] for net in group]
        cells = [[of["vessels"][name] for of in found] for name in CALIBERS]
        cells += [[of["tumors"][kind] for of in found] for kind in KINDS]
        cells += [
            [(of["taken_for"][row][column], sum(of["taken_for"][row])) for of in found]
            for row, column in ((VESSEL, TUMOR), (TUMOR, VESSEL))
        ]
        shares = [_percent(part / whole for part, whole, *_ in counts if whole) for counts in cells]
        rows.append([variant, str(len(group)), *shares])
    return marks.table(heads, rows)


def gradients_table(nets: dict[str, list[Json]]) -> str:
    """What skips hand on to both maps, untrained and trained."""
    columns = [(when, to) for when in ("start", "end") for to in ("decoder", "encoder")]
    words = {"start": "before training", "end": "after"}
    rows = [
        [variant, *(_levels(group, lambda net, w=when, t=to: [level[t] for level in net["gradients"][w]])
                    for when, to in columns)]
        for variant, group in nets.items()
    ]  # fmt: skip
    return marks.table(["variant", *(f"to the {to} map, {words[when]}" for when, to in columns)], rows)


def frozen_table(nets: dict[str, list[Json]]) -> str:
    """Dice with the nets' own maps and with frozen ones, and how much each half adds; of nets with attention."""
    heads = ["variant", "seeds", *(f"{label} Dice{how}" for label in LABELS for how in ("", ", frozen")),
             *(f"added by {word}" for word in HALVES.values())]  # fmt: skip
    rows = []
    for variant, group in nets.items():
        if "dice_frozen" in group[0]:
            scores = [
                _percent(net[dice][label] for net in group) for label in LABELS for dice in ("dice", "dice_frozen")
            ]
            added = [
                _levels(group, lambda net, h=half: [level[h] for level in net["terms"] if h in level])
                for half in HALVES
            ]
            rows.append([variant, str(len(group)), *scores, *added])
    return marks.table(heads, rows)


def _levels(group: Sequence[Json], of: Callable[[Json], list[float]]) -> str:
    means = np.mean([of(net) for net in group], axis=0)
    return " / ".join(f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in means)


def _percent(values: Iterable[float]) -> str:
    known = [100 * value for value in values]
    if not known:
        return ""
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def main() -> None:
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    nets = by_variant(whole)
    seeds = [{net["seed"] for net in nets.get(name, [])} for name in DRAWN]
    if not (common := set.intersection(*seeds)):
        raise SystemExit(
            f"error: {FILE}: expected nets of one seed of {', '.join(DRAWN)}; found none; look at them first"
        )
    drawn = {net["variant"]: net["maps"] for net in whole["nets"] if net["seed"] == min(common)}
    draw({name: drawn[name] for name in DRAWN}, PLOT)
    marks.write(DOCS / "study.md", MAKER, results(whole))


if __name__ == "__main__":
    main()
