"""Write the results of `benchmarks.roundtrip` into docs/train/prepare.md, between two marks."""

from typing import Any

from benchmarks import DOCS, RESULTS, pages
from ltvs.runtime.files import read_json

RESULT, PAGE = RESULTS / "roundtrip" / "ircadb-17.json", DOCS / "train" / "prepare.md"
MAKER = "benchmarks.roundtrip.tables"

#: Targets: Dice after a round trip, by stage, and the cost of preparing, in times the plain calls and in bytes.
LEAST = {
    "1": {"liver": 0.995, "tumor": 0.99, "vessel": 0.92},
    "2": {"liver": 0.998, "tumor": 0.998, "vessel": 0.98},
}
RATIO, PEAK = 1.5, 1.5 * 2**30
GRIDS = {"1": "whole slices, 320 x 320, 1 mm", "2": "liver box, 320 x 320, 1 mm"}


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [[grid, *(f"{report['dice'][stage][name]:.4f}" for name in LEAST[stage])] for stage, grid in GRIDS.items()]
    ours, bare = (report["seconds"][name] for name in ("prepare", "bare"))
    about, cpu = report["machine"], report["processor_seconds"]
    costs = [
        ["preparation", _seconds(ours), f"{cpu['prepare']:.1f} s", f"{report['peak_bytes'] / 2**30:.2f} GiB"],
        ["bare SimpleITK calls", _seconds(bare), f"{cpu['bare']:.1f} s", ""],
        ["preparation / bare calls", f"{report['ratio']:.2f}", f"{cpu['prepare'] / cpu['bare']:.2f}", ""],
    ]
    return (
        f"{pages.table(['Dice after the round trip', *LEAST['1']], rows)}\n"
        f"{pages.table(['one case', 'time', 'processor time', 'peak memory'], costs)}\n"
        f"Medians of {ours['calls']} alternating runs, with the lowest and the highest in brackets. {about['name']}, "
        f"{about['processors']} processors, shared; SimpleITK {about['versions']['SimpleITK']}, commit "
        f"{about['commit']}.\n"
    )


def _seconds(timing: dict[str, float]) -> str:
    return f"{timing['median']:.1f} s ({timing['low']:.1f} to {timing['high']:.1f})"


def missed(report: dict[str, Any]) -> list[str]:
    """Return the targets that are missed, in words."""
    short = [
        f"{name} Dice on {GRIDS[stage]}: {report['dice'][stage][name]:.4f}, expected at least {least}"
        for stage, asked in LEAST.items()
        for name, least in asked.items()
        if not report["dice"][stage][name] >= least
    ]
    if not report["ratio"] <= RATIO:
        short.append(f"time: {report['ratio']:.2f} times the bare calls, expected at most {RATIO}")
    if not report["peak_bytes"] <= PEAK:
        short.append(f"memory: {report['peak_bytes'] / 2**30:.2f} GiB, expected at most {PEAK / 2**30:g}")
    return short


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, text(read_json(RESULT)))


if __name__ == "__main__":
    main()
