"""Write all times into docs/appendix/times.md, and the main ones into docs/understand/speed.md.

They come from `benchmarks/results/*.json`. Those of whole predictions come from
`benchmarks/results/prediction/cpu.json`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import DOCS, RESULTS, pages
from benchmarks.prediction import tables as prediction
from benchmarks.speed import nets
from benchmarks.speed.summary import summary
from ltvs.runtime.files import read_json

PAGE, SUMMARY = DOCS / "appendix" / "times.md", DOCS / "understand" / "speed.md"
MAKER = "benchmarks.speed.tables"
PARTS = {"skips": "Skips", "precision": "Half precision", "nets": "Networks"}
KINDS = {"forward": "forward", "forward_backward": "forward + backward", "training_step": "training step"}
#: Backends that results name as they were called when they were measured.
FORMER_NAMES = {"factorised": "torch", "native": "cpp"}


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Return the reports in a folder, with the backends under their present names."""
    reports: list[dict[str, Any]] = [read_json(path) for path in sorted(folder.glob("*.json"))]
    for row in (row for report in reports for case in report["skips"] for row in case["rows"]):
        row["name"] = " ".join(FORMER_NAMES.get(word, word) for word in row["name"].split(" "))
    return reports


def text(reports: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    parts = []
    # Skips first, and runs with an unusual allocator last.
    reports = sorted(reports, key=lambda r: (bool(r["machine"]["allocator"]), not r["skips"], not r["precision"]))
    usual = next((report for report in reports if report["skips"] and not report["machine"]["allocator"]), None)
    for report in reports:
        about = report["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
        kept = "".join(f", {name}={value}" for name, value in about["allocator"].items())
        what = " and ".join(title for part, title in PARTS.items() if report[part])
        parts.append(
            f"## {what} on a {about['device'].upper()}: {about['name']}{kept}\n\n{about['threads']} threads; a copy "
            f"runs at {report['bandwidth'] / 1e9:.1f} GB/s; {versions}; commit {about['commit']}. The run took "
            f"{report['seconds']:.0f} s.\n"
        )
        shown = [text_table(case, heading="### ") for case in report["skips"]]
        parts += [_marked(shown[0]), *shown[1:]] if report is usual else shown
        if report["precision"]:
            parts.append("### Half precision at the paper's size\n")
            parts += [precision_table(case, heading="#### ") for case in report["precision"]]
        parts += [text_table(case, heading="### ") for case in report["nets"]]
    timed = [_title(case) for report in reports for case in report["nets"] if report["machine"]["device"] == "cpu"]
    expected = [_title(asdict(case)) for case in nets.cases(torch.device("cpu"))]
    if missing := [title for title in expected if title not in timed]:
        parts.append(f"## Not timed yet\n\nOn CPU: {'; '.join(missing)}.\n")
    if not any(report["machine"]["device"] == "cuda" for report in reports):
        parts.append("## CUDA\n\nNot timed yet.\n")
    return "\n".join(parts)


def main_results(reports: list[dict[str, Any]]) -> str:
    """Return the table at the top of docs/understand/speed.md."""
    usual = [r for r in reports if r["machine"]["device"] == "cpu" and not r["machine"]["allocator"]]
    return summary(usual, read_json(prediction.RESULT))


def text_table(case: dict[str, Any], heading: str = "") -> str:
    """Return one case as a Markdown table, with each row's speedup over the first row."""
    ran = [row for row in case["rows"] if "not_run" not in row]
    kinds = [kind for kind in KINDS if ran and kind in ran[0]]
    skip = "channels" in case
    heads = ["", *(name for kind in kinds for name in _columns(KINDS[kind], skip))]
    rows = [[row["name"], *(cell for kind in kinds for cell in _cells(row.get(kind), ran[0][kind]))] for row in ran]
    failed = [f"\n{row['name']} was not run: {row['not_run']}\n" for row in case["rows"] if "not_run" in row]
    failed += [f"\n**Wrong: {case['missed']}.**\n"] if "missed" in case else []
    return f"{heading}{_title(case)}\n\n{pages.table(heads, rows)}{''.join(failed)}"


def precision_table(case: dict[str, Any], heading: str = "") -> str:
    """Return the errors of half precision against float64 over those of the literal equations."""
    size = "x".join(str(n) for n in (1, 32, *case["size"]))
    names = list(case["rows"][0]["errors"])
    rows = [
        [row["score_norm"], "yes" if row["finite"] else "**no**", *(f"{row['errors'][n]['ratio']:.2f}" for n in names)]
        for row in case["rows"]
    ]
    title = f"{heading}{case['dtype']}, {size}, {case['features']} channels"
    return f"{title}\n\n{pages.table(['score_norm', 'finite', *names], rows, words=2)}"


def _marked(table: str) -> str:
    """Mark a table as the part of this page that docs/understand/method.md includes."""
    title, rows = table.split("\n\n", 1)
    return f"{title}\n\n<!-- --8<-- [start:cost] -->\n\n{rows}\n<!-- --8<-- [end:cost] -->\n"


def _title(case: dict[str, Any]) -> str:
    skip = "channels" in case
    size = "x".join(str(n) for n in (*([1, case["channels"]] if skip else [1, 1]), *case["size"]))
    title = f"{'Skip' if skip else 'Networks'}, {size}, {case['dtype']}, {case['memory_format']}"
    return title + (", compiled" if case.get("compiled") else "")


def _columns(kind: str, skip: bool) -> list[str]:
    return [f"{kind}, ms", "speedup", *(["floors", "memory, maps"] if skip else ["memory, MB"])]


def _cells(cell: dict[str, float] | None, first: dict[str, float]) -> list[str]:
    """Return what is shown of a timing, `first` being that of the first row; None for a call that was not made."""
    if cell is None:
        return ["–"] * len(_cells(first, first))
    time = f"{1e3 * cell['median']:.0f} ({1e3 * cell['low']:.0f}–{1e3 * cell['high']:.0f})"
    ratio = f"{first['median'] / cell['median']:.2f}"
    if "extra_maps" in cell:
        return [time, ratio, f"{cell['over_floor']:.1f}", f"{cell['extra_maps']:.2f}"]
    return [time, ratio, f"{cell['extra_bytes'] / 1e6:.0f}"]


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    reports = read_reports(RESULTS)
    pages.write(PAGE, MAKER, text(reports))
    pages.write(SUMMARY, MAKER, main_results(reports))


if __name__ == "__main__":
    main()
