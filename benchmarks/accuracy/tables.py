"""`python -m benchmarks.accuracy.tables`: results into docs/defaults.md, the rest into docs/study.md, and a plot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median

import numpy as np

from benchmarks import marks
from benchmarks.accuracy import ROOT
from benchmarks.accuracy.collect import by_seed, names, plain
from benchmarks.accuracy.figure import draw
from benchmarks.accuracy.reading import DATA, SIZE, Json
from benchmarks.accuracy.statistics import Array, mean_sd
from benchmarks.accuracy.variants import CHOSEN, GROUPS, TITLES

RESULT = ROOT / "benchmarks" / "results" / "accuracy" / "cpu.json"
DOCS, PLOT = ROOT / "docs", ROOT / "docs" / "images" / "accuracy.svg"
MAKER = "benchmarks.accuracy.tables"

#: What costs are over, and what the plot's line is at.
REFERENCE = "concat"
#: What every other variant is compared with: the usual skip, and the default.
AGAINST = (REFERENCE, f"csca-{CHOSEN}")
TRAINED_ON = {
    "all": "Trained on plain phantoms and on phantoms around real anatomies",
    "plain": "Trained on plain phantoms alone",
}
COLUMNS = (("vessel", "dice"), ("vessel", "iou"), ("vessel", "cldice"), ("tumor", "dice"), ("tumor", "iou"))
WORDS = {"dice": "Dice", "iou": "IoU", "cldice": "clDice"}
#: Patches of other sizes, as they are written in a run, smallest first.
SIZES = ("0.25", SIZE, "4")
HALVES = {"channel": "CCA", "slices": "SCA"}

#: Vessel and tumor Dice of the paper's Table 2, percent, by the variant here that is its skip.
PAPER = {"concat": (66.00, 80.36), "sca": (65.16, 84.20), "cca": (67.40, 82.73), "csca": (67.47, 84.96)}

Groups = Mapping[str, Sequence[str]]
#: The variants of each table by its title.
TITLED: Groups = {TITLES[name]: variants for name, variants in GROUPS.items()}

RESULT_NOTES = """\
Scores are percent, mean ± standard deviation over seeds of each seed's mean over test cases. Runs that failed (a loss
that was not finite) have none: they are counted, and not in the means. A cell of what was not run is empty. *Step* is
the median time of a training step over that of `{reference}` on the same machine, *memory* the most that the process
held.
"""

NOTES = """\
**Patches of other sizes** have 0.25 and 4 times the voxels of the training's; means are over the cases that a run
predicted at all of its sizes.

**Entropy** of the attention's rows is a share of that of uniform rows (1: every key counts alike, 0: one key alone);
**spread** is the standard deviation of the scores that go into the softmax. Both at the skips from the finest to the
coarsest, for patches of the size above the column.

**Differences** are Dice of a variant less that of another, in points: the mean over cases of each case's mean over the
seeds of both, over the cases that have a value in all these runs (without a tumor, and with none found, there is none).
The first 95% interval (bootstrap) is over cases and takes the trained nets as they are. The second is for other seeds
as well, which give other nets: a choice between variants has to go by this one (3 seeds are few for it: it misses the
truth in up to 8% of simulated studies, not 5%; with 2 in 13%). p is of the Wilcoxon signed-rank test over cases, which
takes the nets as they are, too, and then after Holm's correction over all pairs of variants. r is the matched-pairs
rank-biserial correlation: 1 if every case is better, -1 if every case is worse.
"""


def results(whole: Json, groups: Groups) -> str:
    """Plot and scores of the study as Markdown.

    Raises:
        ValueError: a variant that was run is in no group.
    """
    parts = [f"![Dice of every variant, a point per seed, a bar at their mean](images/{PLOT.name})\n", _made(whole)]
    parts.append(RESULT_NOTES.format(reference=REFERENCE))
    for data in _data(whole, groups):
        ran = names(whole, data)
        # Few are trained on less, and belong side by side.
        by_title = groups if data == DATA[0] else {"All that were": [name for name in ordered(groups) if name in ran]}
        titled = {title: results_table(whole, data, group) for title, group in by_title.items()}
        if data == DATA[0]:
            titled["Beside the paper's figures, vessel / tumor Dice"] = paper_table(whole, data)
        parts += _section(data, titled)
    return "\n".join(parts)


def details(whole: Json, groups: Groups, against: Iterable[str] = AGAINST) -> str:
    """Other sizes, attention and pairs as Markdown.

    Raises:
        ValueError: a variant that was run is in no group.
    """
    parts, variants = [NOTES], ordered(groups)
    for data in _data(whole, groups):
        titled = {"Patches of other sizes": sizes_table(whole, data, variants)}
        titled |= {what.capitalize(): probes_table(whole, data, variants, what) for what in ("entropy", "spread")}
        for baseline in against:
            for label in ("vessel", "tumor"):
                title = f"Each variant less `{baseline}`, {label}"
                titled[title] = pairs_table(whole, data, baseline, label, variants)
        parts += _section(data, titled)
    return "\n".join(parts)


#: What makes the part of each page between the marks.
PAGES = {"defaults.md": results, "study.md": details}


def ordered(groups: Groups) -> list[str]:
    """All variants, in the order of the tables, once each."""
    return list(dict.fromkeys(variant for group in groups.values() for variant in group))


def results_table(whole: Json, data: str, variants: Sequence[str]) -> str:
    """Scores and costs of these variants."""
    heads = ["variant", "seeds", *(f"{label} {WORDS[score]}" for label, score in COLUMNS), "vessel Dice, plain cases",
             "parameters", "step, times", "memory, MiB"]  # fmt: skip
    rows = []
    for variant in variants:
        runs = _runs(whole, data, variant)
        failed = sum(not run["finite"] for run in runs)
        counts = [str(len(runs) - failed)] if len(runs) > failed else []
        scores = [_mean_sd(_scores(whole, data, variant, *what)) for what in COLUMNS]
        scores.append(_mean_sd(_scores(whole, data, variant, "vessel", "dice")[:, plain(whole)]))
        rows.append([
            variant, ", ".join(counts + ([f"{failed} failed"] if failed else [])), *scores,
            f"{runs[0]['parameters']:,}" if runs else "", _cell(_time_ratio(whole, data, runs), ".2f"),
            _cell(_median(run["peak_memory_mib"] for run in runs), ".0f"),
        ])  # fmt: skip
    return marks.table(heads, rows)


def paper_table(whole: Json, data: str) -> str:
    """Dice of the paper's Table 2, of real CT and the paper's own size, and of the same skips here."""
    rows = []
    for skip, figures in PAPER.items():
        cells = [skip, f"{figures[0]:.1f} / {figures[1]:.1f}"]
        for form in (CHOSEN, "none"):
            variant = skip if skip == REFERENCE else f"{skip}-{form}"
            scores = [_mean_sd(_scores(whole, data, variant, label, "dice")) for label in ("vessel", "tumor")]
            cells.append(" / ".join(scores) if all(scores) else "")
        rows.append(cells)
    return marks.table(["skip", "the paper", f"here, `{CHOSEN}`", "here, `none`"], rows)


def sizes_table(whole: Json, data: str, variants: Sequence[str]) -> str:
    """Dice by size of the patches; empty if all runs predicted at the training's alone."""
    heads = ["variant", *(f"{label}, {size}" for label in ("vessel", "tumor") for size in SIZES)]
    rows = []
    for variant in variants:
        cells = [variant]
        for label in ("vessel", "tumor"):
            found = {size: by_seed(whole, data, variant, label, "dice", size) for size in SIZES}
            sizes = [size for size, scores in found.items() if scores]
            # The same nets and the same cases at every size.
            seeds = [seed for seed in found[SIZE] if all(seed in found[size] for size in sizes)]
            if len(sizes) > 1 and seeds:
                scores = {size: np.array([found[size][seed] for seed in seeds]) for size in sizes}
                known = np.isfinite(list(scores.values())).all(axis=0)
                cells += [_mean_sd(np.where(known, scores[size], np.nan)) if size in sizes else "" for size in SIZES]
            else:
                cells += [""] * len(SIZES)
        if any(cells[1:]):
            rows.append(cells)
    return marks.table(heads, rows) if rows else ""


def probes_table(whole: Json, data: str, variants: Sequence[str], what: str) -> str:
    """`spread` or `entropy` by size of the patch, mean over seeds, a value per skip; empty if nothing was probed."""
    runs = {variant: [run for run in _runs(whole, data, variant) if run["probes"]] for variant in variants}
    sizes = sorted({size for group in runs.values() for run in group for size in run["probes"]}, key=_voxels)
    rows = []
    for variant, group in runs.items():
        for half, word in HALVES.items():
            cells = [_levels([run["probes"].get(size, []) for run in group], half, what) for size in sizes]
            if any(cells):
                rows.append([f"{variant}, {word}", *cells])
    return marks.table(["variant", *(size.replace("x", " x ") for size in sizes)], rows) if rows else ""


def pairs_table(whole: Json, data: str, baseline: str, label: str, variants: Sequence[str]) -> str:
    """How Dice of this class differs from the baseline's; empty if there is no pair."""
    heads = ["variant", "seeds", "cases", "difference", "over cases", "over seeds and cases", "p", "p, Holm", "r",
             "plain cases", "plain, over seeds and cases"]  # fmt: skip
    rows = []
    for variant in variants:
        every, own = (less(whole, data, variant, baseline, label, on) for on in ("all", "plain"))
        if every:
            rows.append([
                variant, str(every["seeds"]), str(every["cases"]), f"{100 * every['difference']:+.1f}",
                _interval(every["interval_cases"]), _interval(every["interval"]), _p(every["p"]), _p(every["p_holm"]),
                f"{every['rank_biserial']:+.2f}", f"{100 * own['difference']:+.1f}" if own else "",
                _interval(own["interval"]) if own else "",
            ])  # fmt: skip
    return marks.table(heads, rows) if rows else ""


def less(whole: Json, data: str, a: str, b: str, label: str, on: str = "all", score: str = "dice") -> Json | None:
    """The comparison of a with b, whichever of the two the study has first; None if it has none."""
    for row in whole["comparisons"]:
        if (row["data"], row["class"], row["score"], row["on"]) == (data, label, score, on):
            if (row["a"], row["b"]) == (a, b):
                return row
            if (row["a"], row["b"]) == (b, a):
                turned = {name: row[name] and [-row[name][1], -row[name][0]] for name in ("interval_cases", "interval")}
                turned |= {name: -row[name] for name in ("difference", "rank_biserial")}
                return row | turned | {"a": a, "b": b}
    return None


def _data(whole: Json, groups: Groups) -> list[str]:
    """What networks were trained on, if no variant is without a table."""
    variants = ordered(groups)
    for data in DATA:
        if lost := [name for name in names(whole, data) if name not in variants]:
            raise ValueError(f"tables: {', '.join(lost)} in no group, so in no table; add to GROUPS in variants.py")
    return [data for data in DATA if names(whole, data)]


def _section(data: str, titled: Mapping[str, str]) -> list[str]:
    return [f"### {TRAINED_ON[data]}\n", *(f"#### {title}\n\n{table}" for title, table in titled.items() if table)]


def _made(whole: Json) -> str:
    task = ", ".join(f"{name} {value}" for name, value in whole["task"].items())
    commits: dict[str, list[str]] = {}
    for found in whole["machines"]:
        about = f"{found['name']} ({found['device']}), {found['threads']} threads, PyTorch {found['versions']['torch']}"
        commits.setdefault(about, []).append(found["commit"] or "unknown")
    machines = "; ".join(f"{about}, commits {', '.join(found)}" for about, found in commits.items())
    own = int(plain(whole).sum())
    return (
        f"{len(whole['runs'])} runs; {len(whole['cases'])} test cases, of which {own} are plain phantoms. "
        f"Task: {task}. Machine: {machines}.\n"
    )


def _runs(whole: Json, data: str, variant: str) -> list[Json]:
    return [run for run in whole["runs"] if (run["data"], run["variant"]) == (data, variant)]


def _scores(whole: Json, data: str, variant: str, label: str, score: str, size: str = SIZE) -> Array:
    found = by_seed(whole, data, variant, label, score, size)
    return np.array(list(found.values())).reshape(len(found), len(whole["cases"]))


def _time_ratio(whole: Json, data: str, runs: Sequence[Json]) -> float | None:
    base = _runs(whole, data, REFERENCE)
    return _median(
        run["seconds_per_step"] / usual
        for run in runs
        if run["seconds_per_step"] is not None
        and (
            usual := _median(other["seconds_per_step"] for other in base if _place(whole, other) == _place(whole, run))
        )
    )


def _place(whole: Json, run: Json) -> tuple[str, str, int]:
    # A later commit on the same machine takes as long.
    found = whole["machines"][run["machine"]]
    return (found["device"], found["name"], found["threads"])


def _levels(probed: Sequence[Sequence[Json]], half: str, what: str) -> str:
    # One value per skip, the mean over seeds; a skip without this half has none.
    cells = []
    for levels in zip(*(found for found in probed if found), strict=True):
        values = [value for level in levels if (value := level.get(half, {}).get(what)) is not None]
        cells.append(format(mean(values), _form(what, mean(values))) if values else "")
    return " / ".join(cells) if any(cells) else ""


def _form(what: str, value: float) -> str:
    # Entropies are shares; spreads go over six orders of magnitude.
    return ".2f" if what == "entropy" else ".3g" if value < 1000 else ",.0f"


def _voxels(size: str) -> int:
    return int(np.prod([int(n) for n in size.split("x")]))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _mean_sd(scores: Array) -> str:
    middle, deviation = mean_sd(scores)
    return _cell(100 * middle, ".1f") + (f" ± {100 * deviation:.1f}" if np.isfinite(deviation) else "")


def _cell(value: float | None, form: str) -> str:
    return format(value, form) if value is not None and np.isfinite(value) else ""


def _interval(ends: Sequence[float] | None) -> str:
    return f"{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}" if ends else ""


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def main() -> None:
    whole = json.loads(RESULT.read_text(encoding="utf-8"))
    for page, made in PAGES.items():
        marks.write(DOCS / page, MAKER, made(whole, TITLED))
    draw(whole, next(data for data in DATA if names(whole, data)), ordered(TITLED), REFERENCE, PLOT)


if __name__ == "__main__":
    main()
