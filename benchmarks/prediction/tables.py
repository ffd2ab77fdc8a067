"""Write the results of `benchmarks.prediction` into docs/understand/speed.md, between two marks."""

from statistics import median
from typing import Any

from benchmarks import DOCS, RESULTS, pages
from ltvs.runtime.files import read_json

RESULT, PAGE = RESULTS / "prediction" / "cpu.json", DOCS / "understand" / "speed.md"
MAKER = "benchmarks.prediction.tables"

NAMES = {"ours": "this pipeline", "monai": "MONAI"}
#: The most that this pipeline may take: shares of MONAI's time and peak memory in equal precision, of MONAI's time with
#: the default settings of each, of its own whole time for everything but the networks; and bytes that a CT of 1,000
#: slices may need more than one of 200.
TIME, MEMORY, DEFAULT_TIME, OUTSIDE, MORE = 0.45, 0.5, 0.25, 0.2, 1e9


def bounds(report: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return each bound: its name, what was measured, and the most that it may be."""
    runs, found = report["runs"], []
    for precision in sorted({row["precision"] for row in runs}):
        ours, monai = of_side(runs, "ours", precision), of_side(runs, "monai", precision)
        found += [
            (f"time, this pipeline / MONAI, both in {precision}", ours["seconds"] / monai["seconds"], TIME),
            (
                f"peak memory, this pipeline / MONAI, both in {precision}",
                ours["peak_bytes"] / monai["peak_bytes"],
                MEMORY,
            ),
            (f"share of the time outside the networks, in {precision}", _outside(ours), OUTSIDE),
        ]
    if runs:
        automatic = report["automatic"]
        default = of_side(runs, "ours", automatic)["seconds"] / of_side(runs, "monai", "32")["seconds"]
        found.append((f"time, this pipeline / MONAI, default precisions ({automatic} and 32)", default, DEFAULT_TIME))
    if report["long"]:
        short, long = (row["peak_bytes"] for row in report["long"])
        few, many = (row["slices"] for row in report["long"])
        found.append((f"peak memory of {many} slices minus that of {few}, GB", (long - short) / 1e9, MORE / 1e9))
    return found


def missed(report: dict[str, Any]) -> list[str]:
    """Return the bounds that are missed, in words."""
    found = [bound for bound in bounds(report) if not bound[1] <= bound[2]]
    return [f"{name}: {value:.2f}, expected at most {most:g}" for name, value, most in found]


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    tables = []
    if report["runs"]:
        heads = ["", "precision", "seconds", "seconds for patches", "CPU seconds", "peak memory, GB"]
        order = sorted({(row["precision"], row["side"]) for row in report["runs"]})
        rows = [_row(side, precision, of_side(report["runs"], side, precision)) for precision, side in order]
        tables.append(pages.table(heads, rows, words=2))
    if report["long"]:
        rows = [[row["size"], f"{row['peak_bytes'] / 1e9:.2f}", f"{row['seconds']:.0f}"] for row in report["long"]]
        tables.append(pages.table(["CT, shipped networks", "peak memory, GB", "seconds"], rows))
    kept = [[name, f"{value:.2f}", f"{most:g}", _holds(value, most)] for name, value, most in bounds(report)]
    tables.append(pages.table(["bound", "measured", "at most", "holds"], kept))
    return (
        "\n".join(tables)
        + f"\nCase {report['case']} on {about['name']}, {about['threads']} threads; {versions}; commit "
        f"{about['commit']}. The run took {report['run_seconds']:.0f} s.\n"
    )


def of_side(runs: list[dict[str, Any]], side: str, precision: str) -> dict[str, float]:
    """Return the medians of a side's seconds, and the most of its peaks."""
    rows = [row for row in runs if (row["side"], row["precision"]) == (side, precision)]
    names = ("seconds", "processor_seconds", "network_seconds")
    return {name: median(row[name] for row in rows) for name in names} | {
        "peak_bytes": max(row["peak_bytes"] for row in rows)
    }


def _holds(value: float, most: float) -> str:
    return "yes" if value <= most else "**no**"


def _outside(row: dict[str, float]) -> float:
    return 1 - row["network_seconds"] / row["seconds"]


def _row(side: str, precision: str, row: dict[str, float]) -> list[str]:
    figures = (row["seconds"], row["network_seconds"], row["processor_seconds"])
    return [NAMES[side], precision, *(f"{value:.1f}" for value in figures), f"{row['peak_bytes'] / 1e9:.2f}"]


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, text(read_json(RESULT)))


if __name__ == "__main__":
    main()
