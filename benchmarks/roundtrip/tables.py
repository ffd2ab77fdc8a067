"""`python -m benchmarks.roundtrip.tables` writes the results into docs/pipeline.md, between two marks."""

import json
from typing import Any

from benchmarks import marks
from benchmarks.roundtrip import ROOT

RESULT, PAGE = ROOT / "benchmarks" / "results" / "roundtrip" / "ircadb-17.json", ROOT / "docs" / "pipeline.md"
MAKER = "benchmarks.roundtrip.tables"

#: Dice that a round trip has to keep, by stage, and what preparing may take: times the bare calls, bytes.
LEAST = {
    "1": {"liver": 0.995, "tumor": 0.99, "vessel": 0.92},
    "2": {"liver": 0.998, "tumor": 0.998, "vessel": 0.98},
}
RATIO, PEAK = 1.5, 1.5 * 2**30
GRIDS = {"1": "whole slices, 320 x 320, 1 mm", "2": "liver box, 320 x 320, 1 mm"}


def text(report: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| Dice after the round trip | liver | tumor | vessel |", "| --- | --: | --: | --: |"]
    for stage, grid in GRIDS.items():
        dice = report["dice"][stage]
        lines.append(f"| {grid} | {' | '.join(f'{dice[name]:.4f}' for name in LEAST[stage])} |")
    ours, bare = (report["seconds"][name] for name in ("prepare", "bare"))
    about, cpu = report["machine"], report["processor_seconds"]
    lines += [
        "",
        f"Preparing took {ours['median']:.1f} s ({ours['low']:.1f} to {ours['high']:.1f}), the bare calls "
        f"{bare['median']:.1f} s ({bare['low']:.1f} to {bare['high']:.1f}), medians of {ours['calls']} in turns: "
        f"{report['ratio']:.2f} times as long. Processors worked {cpu['prepare']:.1f} and {cpu['bare']:.1f} s for it, "
        f"{cpu['prepare'] / cpu['bare']:.2f} times as long. Peak memory was {report['peak_bytes'] / 2**30:.2f} GiB.",
        "",
        f"{about['name']}, {about['processors']} processors, shared; SimpleITK {about['versions']['SimpleITK']}, "
        f"commit {about['commit']}.",
        "",
    ]
    return "\n".join(lines)


def missed(report: dict[str, Any]) -> list[str]:
    """What falls short of what is asked, in words."""
    short = [
        f"{name} Dice on {GRIDS[stage]}: {report['dice'][stage][name]:.4f}, at least {least} asked"
        for stage, asked in LEAST.items()
        for name, least in asked.items()
        if not report["dice"][stage][name] >= least
    ]
    if not report["ratio"] <= RATIO:
        short.append(f"time: {report['ratio']:.2f} times the bare calls, at most {RATIO} asked")
    if not report["peak_bytes"] <= PEAK:
        short.append(f"memory: {report['peak_bytes'] / 2**30:.2f} GiB, at most {PEAK / 2**30:g} asked")
    return short


def main() -> None:
    marks.write(PAGE, MAKER, text(json.loads(RESULT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
