"""`python -m benchmarks.accuracy.causes.tables`: what the nets of the study do, into docs/study.md, and their maps."""

import json
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev

import numpy as np

from benchmarks import marks
from benchmarks.accuracy.causes.__main__ import Json
from benchmarks.accuracy.causes.figure import draw
from benchmarks.accuracy.causes.found import CALIBRES, KINDS, TUMOR, VESSEL
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

**Found** is the share of the voxels of a kind that a net finds, of all cases together. A calibre is the width of the
widest ball in the vessel that holds the voxel, of about 2 mm each. A tumor is isodense if what the net sees of it is on
average within 10 HU of the liver. *Taken for* is the share of a class's voxels.

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
    caption = "Mean attention maps of the first seed, white at 0, black at the largest weight of each map.\n"
    return "\n".join([NOTES, *(f"### {title}\n\n{table}" for title, table in made.items()), picture, caption])


def by_variant(whole: Json) -> dict[str, list[Json]]:
    """The nets of each variant."""
    names = dict.fromkeys(net["variant"] for net in whole["nets"])
    return {name: [net for net in whole["nets"] if net["variant"] == name] for name in names}


def found_table(nets: dict[str, list[Json]]) -> str:
    """Recall by calibre and brightness, and what the two classes are taken for."""
    heads = ["variant", "seeds", *(f"vessels {c}" for c in CALIBRES), *(f"{k} tumors" for k in KINDS),
             "vessel taken for tumor", "tumor taken for vessel"]  # fmt: skip

    def share(net: Json, kind: str, name: str) -> float:
        found, there = net["found"][kind][name]
        return found / there

    def taken(net: Json, of: int, by: int) -> float:
        row = net["found"]["taken_for"][of]
        return row[by] / sum(row)

    rows = [
        [
            variant, str(len(group)),
            *(_percent(share(net, "vessels", name) for net in group) for name in CALIBRES),
            *(_percent(share(net, "tumors", name) for net in group) for name in KINDS),
            _percent(taken(net, VESSEL, TUMOR) for net in group), _percent(taken(net, TUMOR, VESSEL) for net in group),
        ]
        for variant, group in nets.items()
    ]  # fmt: skip
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
    return " / ".join(f"{value:.2g}" for value in means)


def _percent(values: Iterable[float]) -> str:
    known = [100 * value for value in values]
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def main() -> None:
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    marks.write(DOCS / "study.md", MAKER, results(whole))
    nets = by_variant(whole)
    draw({name: nets[name][0]["maps"] for name in DRAWN}, PLOT)


if __name__ == "__main__":
    main()
