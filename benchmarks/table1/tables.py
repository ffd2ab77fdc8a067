"""The results of a study as Markdown: what came out beside what the paper prints, costs, rates and paired tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import pages
from benchmarks.accuracy.statistics import Array, compare, differences, holm, mean_sd
from benchmarks.table1.budgets import COMMON_RATE
from benchmarks.table1.collect import best_rate, scores_of
from benchmarks.table1.counts import millions
from benchmarks.table1.testing import STRUCTURES
from ltvs.model.systems.registry import NETWORKS, TABLE_1, Network

SCORES = {"dice": "Dice", "iou": "IoU"}
_HEADS = ["system", "parameters, M", *(f"{structure} {name}" for structure in STRUCTURES for name in SCORES.values())]
OURS: Network = "ucanet"


def text(report: dict[str, Any]) -> str:
    """Return all tables of a study."""
    over = "seeds and cases" if len(report["budget"]["seeds"]) > 1 else "cases"
    sections = {
        "": _about(report),
        "Dice and IoU on the phantoms, percent": scores_table(report),
        "The paper's Dice and Dice here, percent": f"{paper_table(report)}{disagreement(report)}",
        _real_title(report): scores_table(report, real=True),
        f"Each system minus UCA-Net, points of Dice, interval over {over}": tests_table(report),
        f"At the best of {len(report['budget']['rates'])} learning rates": rates_table(report),
        "Costs": costs_table(report),
    }
    return "\n".join(f"**{title}**\n\n{body}" if title else body for title, body in sections.items() if body)


def _real_title(report: dict[str, Any]) -> str:
    names = sorted({name for run in report["runs"] for name, case in run["cases"].items() if case["real"]})
    named = f"one real CT ({names[0]}), which cannot rank them either" if len(names) == 1 else f"{len(names)} real CTs"
    return f"Dice and IoU on {named}"


def _about(report: dict[str, Any]) -> str:
    budget, abouts = report["budget"], [run["made_with"] for run in report["runs"]] or [report["machine"]]
    d, h, w = budget["patch"]
    seeds = len(budget["seeds"])
    named = "seeds" if seeds > 1 else "seed"
    commits = _each("{commit}", abouts)
    ranks = "" if seeds > 1 else " **One seed cannot rank the systems**: another seed may reverse any two rows."
    return (
        f"{budget['real_steps']} steps of {budget['batch']} patches of {d}x{h}x{w}, {budget['maps']} synthetic "
        f"patients, {budget['test']} held-out phantoms, learning rate {COMMON_RATE:g}, {seeds} {named}."
        f"{ranks} On {_each('{name}, {processors} processors, PyTorch {versions[torch]}', abouts)}; "
        f"{'commits' if ', ' in commits else 'commit'} {commits}.\n"
    )


def _each(template: str, abouts: Sequence[dict[str, Any]]) -> str:
    """Return the template filled with what each run was made with, and everything once: a study may take days."""
    return ", ".join(dict.fromkeys(template.format(**about) for about in abouts))


def printed_table() -> str:
    """Return Table 1 as the paper prints it."""
    rows = [
        [row.title, row.millions, *(f"{value:.2f}" for value in (*row.tumor, *row.vessel))] for row in TABLE_1.values()
    ]
    return pages.table(_HEADS, rows)


def scores_table(report: dict[str, Any], *, real: bool = False) -> str:
    """Return mean and, over several seeds, standard deviation of each system; a cell that was not run stays empty.

    Empty if no system was tested on such cases.
    """
    cells = {
        network: [
            cell(scores_of(report, network, COMMON_RATE, structure, score, real=real))
            for structure in STRUCTURES
            for score in SCORES
        ]
        for network in NETWORKS
    }
    if not any(filter(None, (value for row in cells.values() for value in row))):
        return ""
    rows = [[TABLE_1[network].title, _parameters(report, network), *row] for network, row in cells.items()]
    return pages.table(_HEADS, rows)


def paper_table(report: dict[str, Any]) -> str:
    """Return the Dice that the paper prints and that came out here; with several seeds, the ranks of both."""
    printed = {
        "tumor": {network: row.tumor[0] for network, row in TABLE_1.items()},
        "vessel": {network: row.vessel[0] for network, row in TABLE_1.items()},
    }
    here = {structure: _dice_here(report, structure) for structure in STRUCTURES}
    ranked = len(report["budget"]["seeds"]) > 1
    heads = ["system"]
    for structure in STRUCTURES:
        heads += [f"{structure}, paper", f"{structure}, here", *(("rank, paper", "rank, here") if ranked else ())]
    rows = []
    for network in NETWORKS:
        row = [TABLE_1[network].title]
        for structure in STRUCTURES:
            value = here[structure].get(network)
            row += [f"{printed[structure][network]:.2f}", "" if value is None else f"{value:.1f}"]
            if ranked:
                row += [_rank(printed[structure], network), "" if value is None else _rank(here[structure], network)]
        rows.append(row)
    return pages.table(heads, rows)


def disagreement(report: dict[str, Any]) -> str:
    """Return the systems that beat UCA-Net here, which has the highest Dice in the paper; empty if it was not run."""
    lines = []
    for structure in STRUCTURES:
        here = _dice_here(report, structure)
        if OURS not in here:
            return ""
        higher = [TABLE_1[network].title for network, value in here.items() if value > here[OURS]]
        lines.append(f"- {structure}: {', '.join(higher) or 'none'}\n")
    said = "In the paper, UCA-Net has the highest Dice. Here, these systems score higher than it:"
    return f"\n{said}\n\n{''.join(lines)}"


def _dice_here(report: dict[str, Any], structure: str) -> dict[Network, float]:
    """Return the mean Dice of each system that was run."""
    found = {network: scores_of(report, network, COMMON_RATE, structure, "dice", real=False) for network in NETWORKS}
    return {network: mean_sd(scores)[0] for network, scores in found.items() if scores.size}


def tests_table(report: dict[str, Any]) -> str:
    """Return each system less UCA-Net: mean, 95% interval and p of the Wilcoxon signed-rank test, Holm-corrected.

    With one seed the interval is over cases alone. Empty until UCA-Net and another system have been scored.
    """
    parts, rows = [], []
    for network in NETWORKS:
        found = [_pair(report, network, structure) for structure in STRUCTURES] if network != OURS else []
        if found and all(pair is not None for pair in found):
            parts.append(network)
            rows.append([compare(*pair) for pair in found if pair is not None])
    if not rows:
        return ""
    corrected = [holm(np.array([row[i].p for row in rows])) for i in range(len(STRUCTURES))]
    heads = ["system", *(head for s in STRUCTURES for head in (f"{s}: difference (95%)", "p"))]
    lines = []
    for number, (network, row) in enumerate(zip(parts, rows, strict=True)):
        line = [TABLE_1[network].title]
        for structure, result in enumerate(row):
            low, high = result.interval if np.isfinite(result.interval[0]) else result.interval_cases
            p = corrected[structure][number]
            line += [f"{result.difference:.1f} ({low:.1f} to {high:.1f})", f"{p:.2f}" if p >= 0.01 else "< 0.01"]
        lines.append(line)
    return pages.table(heads, lines)


def rates_table(report: dict[str, Any]) -> str:
    """Return the Dice of each system at the rate that its validation chose; empty if one rate was run."""
    if len(report["budget"]["rates"]) < 2:
        return ""
    rows = []
    for network in NETWORKS:
        rate = best_rate(report, network)
        chosen = [] if rate is None else [
            cell(scores_of(report, network, rate, structure, "dice", real=False)) for structure in STRUCTURES
        ]  # fmt: skip
        rows.append([TABLE_1[network].title, "" if rate is None else f"{rate:g}", *(chosen or ["", ""])])
    return pages.table(["system", "rate", *(f"{structure} Dice" for structure in STRUCTURES)], rows)


def costs_table(report: dict[str, Any]) -> str:
    """Return parameters, FLOPs, seconds and memory of each system; those that were not measured stay empty."""
    heads = ["system", "parameters, M", "GFLOPs of a patch", "s per step", "GB in training", "s per CT", "GB per CT"]
    rows = []
    for network in NETWORKS:
        costs = report["costs"].get(network)
        row = ["", "", "", "", ""] if costs is None else [
            f"{costs['flops'] / 1e9:.0f}", f"{costs['step_seconds']:.2f}", f"{costs['step_bytes'] / 1e9:.2f}",
            f"{costs['ct_seconds']:.1f}", f"{costs['ct_bytes'] / 1e9:.2f}",
        ]  # fmt: skip
        rows.append([TABLE_1[network].title, _parameters(report, network), *row])
    return pages.table(heads, rows)


def for_readme(report: dict[str, Any]) -> str:
    """Return the short table of README: UCA-Net, the 3D U-Net and the best systems here, beside the paper's Dice."""
    here = {structure: _dice_here(report, structure) for structure in STRUCTURES}
    best = {max(dice, key=lambda network: dice[network]) for dice in here.values() if dice}
    heads = ["system", "parameters, M", "tumor, paper", "tumor, here", "vessel, paper", "vessel, here"]
    rows = []
    for network in NETWORKS:
        if network in {"unet3d", OURS} | best:
            printed = TABLE_1[network]
            tumor, vessel = (cell(scores_of(report, network, COMMON_RATE, s, "dice", real=False)) for s in STRUCTURES)
            rows.append([printed.title, _parameters(report, network), f"{printed.tumor[0]:.1f}", tumor,
                         f"{printed.vessel[0]:.1f}", vessel])  # fmt: skip
    shown = pages.table(heads, rows)
    if any(OURS not in dice for dice in here.values()):
        return shown
    above = {s: sum(dice > here[s][OURS] for dice in here[s].values()) for s in STRUCTURES}
    return (
        f"{shown}\nHere, {above['tumor']} of the nine other systems have a higher tumor Dice than UCA-Net, and "
        f"{above['vessel']} have a higher vessel Dice. In the paper, none has.\n"
    )


def cell(scores: Array) -> str:
    """Return mean and standard deviation over seeds of each seed's mean over cases; empty without scores.

    Example:
        >>> cell(np.array([[60.0, 70.0], [62.0, 72.0]])), cell(np.array([[60.0, np.nan]])), cell(np.zeros((0, 0)))
        ('66.0 ± 1.4', '60.0', '')
    """
    mean, sd = mean_sd(scores) if scores.size else (np.nan, np.nan)
    if not np.isfinite(mean):
        return ""
    return f"{mean:.1f} ± {sd:.1f}" if np.isfinite(sd) else f"{mean:.1f}"


def _parameters(report: dict[str, Any], network: Network) -> str:
    costs = report["costs"].get(network)
    return "" if costs is None else millions(int(costs["parameters"]))


def _rank(values: dict[Network, float], network: Network) -> str:
    return str(1 + sum(value > values[network] for value in values.values()))


def _pair(report: dict[str, Any], network: Network, structure: str) -> Sequence[Array] | None:
    """Return the Dice of a system and of UCA-Net over the seeds of both; None if they share no case with a value."""
    one, ours = (scores_of(report, n, COMMON_RATE, structure, "dice", real=False) for n in (network, OURS))
    seeds = min(len(one), len(ours))
    if not seeds or one.shape[1:] != ours.shape[1:]:
        return None
    pair = one[:seeds], ours[:seeds]
    return pair if differences(*pair).size else None
