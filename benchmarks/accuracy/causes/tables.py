"""Write the results of `benchmarks.accuracy.causes` and the picture of maps into docs/appendix/study.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from benchmarks import DOCS, pages
from benchmarks.accuracy.causes.recall import CALIBERS, KINDS, TUMOR, VESSEL
from benchmarks.accuracy.run_files import Json
from benchmarks.accuracy.tables import HALVES, LABELS, RESULT
from benchmarks.accuracy.variants import CHOSEN
from benchmarks.svg import TYPE, svg
from ltvs.runtime.files import read_json

FILE = RESULT.with_name("causes.json")
PLOT = DOCS / "images" / "attention.svg"
MAKER = "benchmarks.accuracy.causes.tables"
#: The variants whose maps are drawn.
DRAWN = ("csca-none", "csca-instance", f"csca-{CHOSEN}")
CELL, LEFT = 1.3, 0.4  # inches: of a map with its margins, of the variants' names


def results(whole: Json) -> str:
    """Return all tables as Markdown."""
    nets = by_variant(whole)
    made = {
        "Recall and confusion": found_table(nets),
        "Gradient through the skip": gradients_table(nets),
        "Attention frozen to its mean": frozen_table(nets),
    }
    picture = f"![Mean attention maps of three variants](../images/{PLOT.name})\n"
    caption = "Mean attention maps of one seed. White is 0; black is the largest weight in each map.\n"
    return "\n".join([*(f"### {title}\n\n{table}" for title, table in made.items()), picture, caption])


def by_variant(whole: Json) -> dict[str, list[Json]]:
    """Return the nets of each variant."""
    names = dict.fromkeys(net["variant"] for net in whole["nets"])
    return {name: [net for net in whole["nets"] if net["variant"] == name] for name in names}


def found_table(nets: dict[str, list[Json]]) -> str:
    """Return recall by caliber and brightness, and the share of each class that nets label as the other."""
    some = next(iter(nets.values()))[0]["found"]["tumors"]
    rows = []
    for variant, group in nets.items():
        found = [net["found"] for net in group]
        cells = {f"vessels {name}": [of["vessels"][name] for of in found] for name in CALIBERS}
        cells |= {f"{kind} tumors ({some[kind][2]})": [of["tumors"][kind] for of in found] for kind in KINDS}
        for what, row, column in (("vessel labeled tumor", VESSEL, TUMOR), ("tumor labeled vessel", TUMOR, VESSEL)):
            cells[what] = [(of["taken_for"][row][column], sum(of["taken_for"][row])) for of in found]
        shares = {head: _percent(part / all_ for part, all_, *_ in counts if all_) for head, counts in cells.items()}
        rows.append({"variant": variant, "seeds": str(len(group))} | shares)
    return pages.table_of(rows)


def gradients_table(nets: dict[str, list[Json]]) -> str:
    """Return the gradient that skips pass back to both maps, before and after training."""
    words = {"start": "before training", "end": "after"}
    return pages.table_of([
        {"variant": variant} | {
            f"to the {to} map, {word}": _levels([[level[to] for level in net["gradients"][when]] for net in group])
            for when, word in words.items() for to in ("decoder", "encoder")
        }
        for variant, group in nets.items()
    ])  # fmt: skip


def frozen_table(nets: dict[str, list[Json]]) -> str:
    """Return Dice with the nets' own maps and with frozen ones, and how much each half adds; of nets with attention."""
    scores = [(label, dice, how) for label in LABELS for dice, how in (("dice", ""), ("dice_frozen", ", frozen"))]
    return pages.table_of([
        {"variant": variant, "seeds": str(len(group))}
        | {f"{label} Dice{how}": _percent(net[dice][label] for net in group) for label, dice, how in scores}
        | {f"added by {word}": _levels([[level[half] for level in net["terms"] if half in level] for net in group])
           for half, word in HALVES.items()}
        for variant, group in nets.items()
        if "dice_frozen" in group[0]
    ])  # fmt: skip


def _levels(of_nets: Sequence[Sequence[float]]) -> str:
    return " / ".join(f"{value:.2g}" if value < 100 else f"{value:.0f}" for value in np.mean(of_nets, axis=0))


def _percent(values: Iterable[float]) -> str:
    known = [100 * value for value in values]
    if not known:
        return ""
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def draw(maps: dict[str, list[Json]], path: Path) -> None:
    """Write the picture as SVG; maps are by variant, then by skip, finest first, then by half."""
    columns = [(half, level) for half in HALVES for level in range(len(next(iter(maps.values()))))]
    with svg(path, "attention", (LEFT + CELL * len(columns), CELL * len(maps) + 0.4)) as figure:
        grid = figure.subplots(len(maps), len(columns), squeeze=False)
        for number, (variant, levels) in enumerate(maps.items()):
            row = grid[number]
            for panel, (half, level) in zip(row, columns, strict=True):
                weights = np.array(levels[level][half])
                panel.imshow(weights, cmap="gray_r", vmin=0, vmax=weights.max())
                panel.set_xticks([])
                panel.set_yticks([])
                if number == 0:
                    panel.set_title(f"{HALVES[half]}, {' x '.join(map(str, weights.shape))}", fontsize=TYPE)
            row[0].set_ylabel(variant.replace("+", "\n+"), fontsize=TYPE)


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    whole = read_json(FILE)
    nets = by_variant(whole)
    seeds = [{net["seed"] for net in nets.get(name, [])} for name in DRAWN]
    if not (common := set.intersection(*seeds)):
        raise SystemExit(
            f"error: {FILE}: expected nets of one seed of {', '.join(DRAWN)}; found none; look into them first"
        )
    drawn = {net["variant"]: net["maps"] for net in whole["nets"] if net["seed"] == min(common)}
    draw({name: drawn[name] for name in DRAWN}, PLOT)
    pages.write(DOCS / "appendix" / "study.md", MAKER, results(whole))


if __name__ == "__main__":
    main()
