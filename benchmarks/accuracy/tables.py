"""Write the study behind the defaults into docs/appendix/study.md."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median

import numpy as np

from benchmarks import DOCS, RESULTS, pages
from benchmarks.accuracy.collect import by_seed, names, plain
from benchmarks.accuracy.run_files import DATA, SIZE, Json
from benchmarks.accuracy.statistics import Array, mean_sd
from benchmarks.accuracy.variants import CHOSEN, GROUPS, TITLES
from ltvs.runtime.files import read_json

RESULT = RESULTS / "accuracy" / "cpu.json"
MAKER = "benchmarks.accuracy.tables"

#: The variant that costs are relative to.
REFERENCE = "concat"
#: The variants that every other one is compared with: the usual skip, and the default.
AGAINST = (REFERENCE, f"csca-{CHOSEN}")
TRAINED_ON = {
    "all": "Trained on plain phantoms and on phantoms with real anatomy",
    "plain": "Trained on plain phantoms alone",
}
LABELS = ("vessel", "tumor")
#: Scores and their names in the tables; `cldice` is that of earlier results, with MONAI's soft skeletons.
SCORES = {"dice": "Dice", "iou": "IoU", "cldice": "clDice, soft skeletons", "cldice_thinned": "clDice"}
COLUMNS = {(label, score): f"{label} {name}" for label in LABELS for score, name in SCORES.items()}
#: Sizes of the patches as runs write them, smallest first.
SIZES = ("0.25", SIZE, "4")
HALVES = {"channel": "CCA", "slices": "SCA"}

#: Vessel and tumor Dice of the paper's Table 2, percent, by the variant here that is its skip.
PAPER = {"concat": (66.00, 80.36), "sca": (65.16, 84.20), "cca": (67.40, 82.73), "csca": (67.47, 84.96)}

Groups = Mapping[str, Sequence[str]]
#: The variants of each table by its title.
TITLED: Groups = {title: GROUPS[name] for name, title in TITLES.items()}


def page(whole: Json, groups: Groups, against: Iterable[str] = AGAINST) -> str:
    """Return scores, costs, other sizes, attention and pairs as Markdown.

    Raises:
        ValueError: a variant that was run is in no group.
    """
    return "\n".join((results(whole, groups), details(whole, groups, against)))


def results(whole: Json, groups: Groups) -> str:
    """Return scores and costs of the study as Markdown.

    Raises:
        ValueError: a variant that was run is in no group.
    """
    parts = [_about(whole)]
    for data in _data(whole, groups):
        ran = names(whole, data)
        # Few variants are trained on less, and they belong side by side.
        by_title = groups if data == DATA[0] else {"All variants": [name for name in ordered(groups) if name in ran]}
        titled = {title: results_table(whole, data, group) for title, group in by_title.items()}
        if data == DATA[0]:
            titled["The paper and this study, vessel / tumor Dice"] = paper_table(whole, data)
        parts += _section(TRAINED_ON[data], titled)
    return "\n".join(parts)


def details(whole: Json, groups: Groups, against: Iterable[str]) -> str:
    """Return other sizes, attention and pairs as Markdown.

    Raises:
        ValueError: a variant that was run is in no group.
    """
    parts, variants = [], ordered(groups)
    for data in _data(whole, groups):
        titled = {"Patches of other sizes": sizes_table(whole, data, variants)}
        titled |= {what.capitalize(): probes_table(whole, data, variants, what) for what in ("entropy", "spread")}
        for baseline in against:
            for label in LABELS:
                title = f"Each variant vs `{baseline}`, {label}"
                titled[title] = pairs_table(whole, data, baseline, label, variants)
        parts += _section(f"{TRAINED_ON[data]}: details", titled)
    return "\n".join(parts)


def ordered(groups: Groups) -> list[str]:
    """Return all variants once, in the order of the tables."""
    return list(dict.fromkeys(variant for group in groups.values() for variant in group))


def results_table(whole: Json, data: str, variants: Sequence[str]) -> str:
    """Return scores and costs of these variants."""
    known = {(label, score) for run in whole["runs"] for label, by_name in run["scores"].get(SIZE, {}).items()
             for score in by_name}  # fmt: skip
    rows = []
    for variant in variants:
        runs = _runs(whole, data, variant)
        failed = sum(not run["finite"] for run in runs)
        counts = [str(len(runs) - failed)] * (len(runs) > failed) + [f"{failed} failed"] * (failed > 0)
        rows.append({
            "variant": variant,
            "seeds": ", ".join(counts),
            **{head: _mean_sd(_scores(whole, data, variant, *column)) for column, head in COLUMNS.items()
               if column in known},
            "vessel Dice, plain cases": _mean_sd(_scores(whole, data, variant, "vessel", "dice")[:, plain(whole)]),
            "parameters": f"{runs[0]['parameters']:,}" if runs else "",
            "step time, ratio": _cell(_time_ratio(whole, data, runs), ".2f"),
            "memory, MiB": _cell(_median(run["peak_memory_mib"] for run in runs), ".0f"),
        })  # fmt: skip
    return pages.table_of(rows)


def paper_table(whole: Json, data: str) -> str:
    """Return Dice of the paper's Table 2, on real CT at the paper's size, and Dice of the same skips here."""

    def here(variant: str) -> str:
        scores = [_mean_sd(_scores(whole, data, variant, label, "dice")) for label in LABELS]
        return " / ".join(scores) if all(scores) else ""

    rows = []
    for skip, (vessel, tumor) in PAPER.items():
        ours = {f"here, `{form}`": here(skip if skip == REFERENCE else f"{skip}-{form}") for form in (CHOSEN, "none")}
        rows.append({"skip": skip, "the paper": f"{vessel:.1f} / {tumor:.1f}"} | ours)
    return pages.table_of(rows)


def sizes_table(whole: Json, data: str, variants: Sequence[str]) -> str:
    """Return Dice by size of the patches; empty if all runs predicted only at the training's."""
    rows = []
    for variant in variants:
        cells = {f"{label}, {size}": cell for label in LABELS for size, cell in _sizes(whole, data, variant, label)}
        rows.append({"variant": variant} | cells)
    return _table_of_filled(rows)


def probes_table(whole: Json, data: str, variants: Sequence[str], what: str) -> str:
    """Return `spread` or `entropy` by size of the patch, mean over seeds, a value per skip; empty without probes."""
    runs = {variant: [run for run in _runs(whole, data, variant) if run["probes"]] for variant in variants}
    sizes = sorted({size for group in runs.values() for run in group for size in run["probes"]}, key=_voxels)
    rows = []
    for variant, group in runs.items():
        for half, word in HALVES.items():
            levels = {size: _levels([run["probes"].get(size, []) for run in group], half, what) for size in sizes}
            rows.append({"variant": f"{variant}, {word}"} | {k.replace("x", " x "): v for k, v in levels.items()})
    return _table_of_filled(rows)


def pairs_table(whole: Json, data: str, baseline: str, label: str, variants: Sequence[str]) -> str:
    """Return how Dice of this class differs from the baseline's; empty if there is no pair."""
    rows = []
    for variant in variants:
        every, own = (less(whole, data, variant, baseline, label, on) for on in ("all", "plain"))
        if every:
            rows.append({
                "variant": variant,
                "seeds": str(every["seeds"]),
                "cases": str(every["cases"]),
                "difference": f"{100 * every['difference']:+.1f}",
                "95% over cases": _interval(every["interval_cases"]),
                "95% over seeds and cases": _interval(every["interval"]),
                "p": _p(every["p"]),
                "p, Holm": _p(every["p_holm"]),
                "r": f"{every['rank_biserial']:+.2f}",
                "plain cases": f"{100 * own['difference']:+.1f}" if own else "",
                "plain cases, 95% over seeds and cases": _interval(own["interval"]) if own else "",
            })  # fmt: skip
    return pages.table_of(rows)


def less(whole: Json, data: str, a: str, b: str, label: str, on: str = "all", score: str = "dice") -> Json | None:
    """Return the comparison of a with b, whichever of the two the study has first; None if it has none."""
    for row in whole["comparisons"]:
        if (row["data"], row["class"], row["score"], row["on"]) == (data, label, score, on):
            if (row["a"], row["b"]) == (a, b):
                return row
            if (row["a"], row["b"]) == (b, a):
                turned = {name: row[name] and [-row[name][1], -row[name][0]] for name in ("interval_cases", "interval")}
                turned |= {name: -row[name] for name in ("difference", "rank_biserial")}
                return row | turned | {"a": a, "b": b}
    return None


def _table_of_filled(rows: Iterable[Mapping[str, str]]) -> str:
    """Return a table of the rows that have more than a name; empty if none has."""
    return pages.table_of([row for row in rows if any([*row.values()][1:])])


def _data(whole: Json, groups: Groups) -> list[str]:
    """Return the data that networks were trained on, unless a variant is in no table."""
    variants = ordered(groups)
    for data in DATA:
        if lost := [name for name in names(whole, data) if name not in variants]:
            raise ValueError(f"tables: {', '.join(lost)} in no group, so in no table; add to GROUPS in variants.py")
    return [data for data in DATA if names(whole, data)]


def _section(heading: str, titled: Mapping[str, str]) -> list[str]:
    return [f"### {heading}\n", *(f"#### {title}\n\n{table}" for title, table in titled.items() if table)]


def _about(whole: Json) -> str:
    task = ", ".join(f"{name} {value}" for name, value in whole["task"].items())
    commits: dict[str, list[str]] = {}
    for found in whole["machines"]:
        about = f"{found['name']} ({found['device']}), {found['threads']} threads, PyTorch {found['versions']['torch']}"
        commits.setdefault(about, []).append(found["commit"] or "unknown")
    machines = "; ".join(f"{about}, commits {', '.join(found)}" for about, found in commits.items())
    own = int(plain(whole).sum())
    return (
        f"{len(whole['runs'])} runs; {len(whole['cases'])} test cases, {own} of them plain phantoms. "
        f"Task: {task}. Machine: {machines}.\n"
    )


def _runs(whole: Json, data: str, variant: str) -> list[Json]:
    return [run for run in whole["runs"] if (run["data"], run["variant"]) == (data, variant)]


def _scores(whole: Json, data: str, variant: str, label: str, score: str) -> Array:
    found = by_seed(whole, data, variant, label, score)
    return np.array(list(found.values())).reshape(len(found), len(whole["cases"]))


def _sizes(whole: Json, data: str, variant: str, label: str) -> Iterable[tuple[str, str]]:
    """Return Dice at each size, over the nets and cases that have it at every size; empty cells if only one was run."""
    found = {size: by_seed(whole, data, variant, label, "dice", size) for size in SIZES}
    sizes = [size for size, scores in found.items() if scores]
    seeds = [seed for seed in found[SIZE] if all(seed in found[size] for size in sizes)]
    if len(sizes) < 2 or not seeds:
        return [(size, "") for size in SIZES]
    scores = {size: np.array([found[size][seed] for seed in seeds]) for size in sizes}
    known = np.isfinite(list(scores.values())).all(axis=0)
    return [(size, _mean_sd(np.where(known, scores[size], np.nan)) if size in sizes else "") for size in SIZES]


def _time_ratio(whole: Json, data: str, runs: Sequence[Json]) -> float | None:
    base = _runs(whole, data, REFERENCE)
    ratios = []
    for run in runs:
        usual = _median(other["seconds_per_step"] for other in base if _place(whole, other) == _place(whole, run))
        if usual and run["seconds_per_step"] is not None:
            ratios.append(run["seconds_per_step"] / usual)
    return _median(ratios)


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
    # Entropies are shares; spreads cover six orders of magnitude.
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
    pages.take_no_options(MAKER, __doc__)
    whole = read_json(RESULT)
    pages.write(DOCS / "appendix" / "study.md", MAKER, page(whole, TITLED))


if __name__ == "__main__":
    main()
