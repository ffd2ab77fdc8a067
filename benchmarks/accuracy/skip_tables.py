"""Write the tables of skip connections into docs/understand/choices.md and docs/appendix/study.md, and a plot."""

from collections.abc import Sequence

import numpy as np

from benchmarks import DOCS, RESULTS, pages
from benchmarks.accuracy.collect import by_seed, names
from benchmarks.accuracy.dice_plot import draw
from benchmarks.accuracy.run_files import FROZEN, REAL_CT, SIZE, Json
from benchmarks.accuracy.statistics import Array, Comparison, mean_sd
from benchmarks.accuracy.variants import GROUPS
from benchmarks.accuracy.verdicts import BASELINES, LABELS, counts, difference, first_mean, goes_on, lead_of, verdicts
from ltvs.runtime.files import read_json

RESULT, ON_PLAIN = (RESULTS / "accuracy" / f"{name}.json" for name in ("skips", "skips-plain"))
PLOT = DOCS / "images" / "skips.svg"
MAKER = "benchmarks.accuracy.skip_tables"
VARIANTS = GROUPS["skips"]
#: The skips that the rule after the first seeds keeps or drops; the other ones run in any case.
CANDIDATES = ("gated", "selective", "windowed", "axial", "gated-static", "gated-csca", "gated-cca", "attention-gate")
REFERENCE, LARGER = "concat", "4"


def short_table(whole: Json) -> str:
    """Return each net's Dice, its difference from concatenation, and the parameters."""
    rows = []
    for variant in _ran(whole):
        found = verdicts(whole, variant)
        cells: dict[str, str] = {"skip": f"`{variant}`", "seeds": _seeds(whole, variant)}
        for label in LABELS:
            cells[f"{label} Dice"] = _dice(whole, variant, label, SIZE)
            cells[f"{label} vs `{REFERENCE}`"] = _difference(found[label].less.get(REFERENCE))
        runs = [run for run in whole["runs"] if run["variant"] == variant]
        cells["parameters"] = f"{runs[0]['parameters']:,}"
        rows.append(cells)
    return pages.table_of(rows)


def verdict_table(whole: Json) -> str:
    """Return how each skip compares with both baselines and with itself frozen, and whether its gain counts."""
    rows = []
    for variant in _ran(whole):
        found = verdicts(whole, variant)
        cells = {"skip": f"`{variant}`", "seeds": _seeds(whole, variant)}
        for label in LABELS:
            cells |= {f"{label} vs `{name}`": _difference(found[label].less.get(name)) for name in BASELINES}
            cells[f"{label} vs itself frozen"] = _difference(found[label].less_frozen)
        rows.append(cells | {"counts": _word(counts(found)) if any(one.less_frozen for one in found.values()) else ""})
    return pages.table_of(rows)


def frozen_table(whole: Json) -> str:
    """Return how each skip compares with both baselines once its maps and gates are frozen."""
    rows = []
    for variant in _ran(whole):
        found = verdicts(whole, variant)
        if any(one.less_frozen for one in found.values()):
            cells = {"skip": f"`{variant}`, frozen"}
            for label in LABELS:
                cells[f"{label} Dice"] = _dice(whole, variant, label, FROZEN)
                less = found[label].frozen_less
                cells |= {f"{label} vs `{name}`": _difference(less.get(name)) for name in BASELINES}
            rows.append(cells)
    return pages.table_of(rows)


def pruning_table(whole: Json) -> str:
    """Return the means over the first seeds, and which candidates were kept."""
    rows = []
    for variant in _ran(whole):
        cells = {"skip": f"`{variant}`"}
        for label in LABELS:
            cells[f"{label} Dice"] = _points(first_mean(whole, variant, label), "")
            lead = np.nan if variant in BASELINES else lead_of(whole, variant, label)
            cells[f"{label}, lead over both"] = _points(lead, "+")
        rows.append(cells | {"kept": _word(goes_on(whole, variant)) if variant in CANDIDATES else ""})
    return pages.table_of(rows)


def elsewhere_table(whole: Json) -> str:
    """Return Dice with the training patch and a larger one, on the same cases, and Dice on the real CT."""
    rows = []
    for variant in _ran(whole):
        cells = {"skip": f"`{variant}`"}
        for label in LABELS:
            larger = by_seed(whole, "all", variant, label, "dice", LARGER)
            usual = by_seed(whole, "all", variant, label, "dice")
            same = [np.where(np.isfinite(larger[seed]), usual[seed], np.nan) for seed in larger]
            cells[f"{label}, training patch"] = _mean_sd(same)
            cells[f"{label}, 4 times the patch"] = _dice(whole, variant, label, LARGER)
            less = difference(whole, variant, REFERENCE, label, LARGER)
            cells[f"{label}, 4 times the patch, vs `{REFERENCE}`"] = _difference(less)
            cells[f"{label}, real CT"] = _dice(whole, variant, label, REAL_CT)
        rows.append(cells)
    return pages.table_of(rows)


def plain_table(whole: Json) -> str:
    """Return Dice of the nets trained on plain phantoms, and its difference from concatenation."""
    rows = []
    for variant in _ran(whole):
        cells = {"skip": f"`{variant}`", "seeds": _seeds(whole, variant)}
        for label in LABELS:
            for size, title in ((SIZE, label), (LARGER, f"{label}, 4 times the patch")):
                cells[title] = _dice(whole, variant, label, size)
                cells[f"{title}, vs `{REFERENCE}`"] = _difference(difference(whole, variant, REFERENCE, label, size))
        rows.append(cells)
    return pages.table_of(rows)


def appendix(whole: Json, of_plain: Json) -> str:
    """Return all tables of the study as Markdown; `of_plain` holds the runs on plain phantoms."""
    made = {
        "Verdicts": verdict_table(whole),
        "With maps and gates frozen": frozen_table(whole),
        "After three seeds": pruning_table(whole),
        "Larger patches and a real CT": elsewhere_table(whole),
        "Plain phantoms": f"{_about(of_plain)}\n{plain_table(of_plain)}",
    }
    return "\n".join([_about(whole), *(f"### {title}\n\n{table}" for title, table in made.items())])


def _about(whole: Json) -> str:
    machines = dict.fromkeys(f"{m['name']}, PyTorch {m['versions']['torch']}" for m in whole["machines"])
    commits = dict.fromkeys(m["commit"] for m in whole["machines"])
    return f"{len(whole['runs'])} runs, {'; '.join(machines)}, one thread each, commits {', '.join(commits)}.\n"


def _ran(whole: Json) -> Sequence[str]:
    ran = names(whole, "all")
    return [variant for variant in VARIANTS if variant in ran]


def _seeds(whole: Json, variant: str) -> str:
    done = [run["finite"] for run in whole["runs"] if run["variant"] == variant]
    failed = done.count(False)
    return f"{len(done) - failed}" + (f", {failed} failed" if failed else "")


def _dice(whole: Json, variant: str, label: str, size: str) -> str:
    return _mean_sd([*by_seed(whole, "all", variant, label, "dice", size).values()])


def _mean_sd(scores: Sequence[Array]) -> str:
    if not scores:
        return ""
    middle, deviation = mean_sd(np.array(scores))
    return f"{100 * middle:.1f}" + (f" ± {100 * deviation:.1f}" if np.isfinite(deviation) else "")


def _points(value: float, sign: str) -> str:
    return f"{value:{sign}.1f}" if np.isfinite(value) else ""


def _word(answer: bool | None) -> str:
    return "" if answer is None else "yes" if answer else "no"


def _difference(found: Comparison | None) -> str:
    if found is None:
        return ""
    low, high = (100 * end for end in found.interval)
    return f"{100 * found.difference:+.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    whole, of_plain = read_json(RESULT), read_json(ON_PLAIN)
    pages.write(DOCS / "understand" / "choices.md", MAKER, short_table(whole))
    pages.write(DOCS / "appendix" / "study.md", MAKER, appendix(whole, of_plain))
    draw(whole, "all", VARIANTS, REFERENCE, PLOT)


if __name__ == "__main__":
    main()
