"""Tables of the results; `python -m benchmarks.speed.tables` writes docs/speed.md from `benchmarks/results/*.json`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import nets

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "speed.md"
KINDS = {"forward": "forward", "forward_backward": "forward + backward", "training_step": "training step"}

INTRODUCTION = """\
# Speed

How long one skip connection and whole networks take, and how much memory beyond inputs and results. Every table
comes from one run of

```sh
python -m benchmarks.speed --device cpu --json benchmarks/results/cpu.json   # or cuda
python -m benchmarks.speed.tables                                            # writes this page
```

which first compares the fast backends (`factorised`, `native` on CPU, `triton` on CUDA), the result and the gradients
of both maps, with the literal equations in float64 at every size and dtype below (networks and compiled code are not
compared here), then makes all calls of a table in turns, each twice, of which the second counts. Backward takes the
gradients of both maps and of all parameters. Times are medians, with the fastest and the slowest call in brackets.
*Floor* is the time that the maps which have to be read and written would take at the bandwidth of a copy, measured in
the same run: 4 maps of C x voxels forward, 11 forward and backward. *Memory* counts tensors, in maps of C x voxels for
a skip; what a library takes past PyTorch's allocator is not seen. PyTorch on CPU gives the memory of large maps back to
the system and asks for it again with every call, and calls that make many maps wait for that; where the heading names
GLIBC_TUNABLES or LD_PRELOAD, the process kept freed memory instead.

CSCA is timed without the decoder map added (`residual=False`); to add it is to read one map more. The networks are
timed as they are by default, with it.
"""


PRECISION = """\
### Half precision at the paper's size

Errors of `auto` over those of the literal equations on the same maps, both against float64 (root mean squares): 2 would
be as bad as is allowed, below 1 is better than the literal form. Maps are as after a ReLU, of unit scale; the channels
of *correlated* ones are all nearly one pattern. Parameters are in float32, under autocast.
"""


def page(reports: list[dict[str, Any]]) -> str:
    """The page of the docs."""
    parts = [INTRODUCTION]
    # Skips first, and what is unusual last.
    reports = sorted(reports, key=lambda r: (bool(r["machine"]["allocator"]), not r["skips"], not r["precision"]))
    usual = next((report for report in reports if report["skips"] and not report["machine"]["allocator"]), None)
    for report in reports:
        about = report["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
        kept = "".join(f", {name}={value}" for name, value in about["allocator"].items())
        parts.append(
            f"## {about['device'].upper()}: {about['name']}{kept}\n\n{about['threads']} threads, copy at "
            f"{report['bandwidth'] / 1e9:.1f} GB/s, {versions}, commit {about['commit']}; {report['seconds']:.0f} s\n"
        )
        shown = [text_table(case, heading="###") for case in report["skips"]]
        parts += [_marked(shown[0]), *shown[1:]] if report is usual else shown
        if report["precision"]:
            parts.append(PRECISION)
            parts += [precision_table(case, heading="####") for case in report["precision"]]
        parts += [text_table(case, heading="###") for case in report["nets"]]
    timed = [case for report in reports for case in report["nets"] if report["machine"]["device"] == "cpu"]
    known = [{name: value for name, value in case.items() if name != "rows"} for case in timed]
    if missing := [case for case in map(_as_json, nets.cases(torch.device("cpu"))) if case not in known]:
        titles = "; ".join(_title(case) for case in missing)
        parts.append(f"## Not timed yet\n\nOn CPU: {titles}.\n")
    if not any(report["machine"]["device"] == "cuda" for report in reports):
        parts.append("## CUDA\n\nNot measured yet: no run on a GPU has been made.\n")
    return "\n".join(parts)


def text_table(case: dict[str, Any], heading: str = "") -> str:
    """One case as a Markdown table, slower than the first row or not: ratios are to the first."""
    skip, title = "channels" in case, _title(case)
    ran = [row for row in case["rows"] if "not_run" not in row]
    kinds = [kind for kind in KINDS if ran and kind in ran[0]]
    head = ["", *(name for kind in kinds for name in _columns(KINDS[kind], skip))]
    lines = [f"{heading} {title}".strip(), "", _line(head), _line(["---"] + ["--:"] * (len(head) - 1))]
    for row in ran:
        cells = [row["name"]]
        for kind in kinds:
            cells += _cells(row[kind], ran[0][kind]["median"], skip)
        lines.append(_line(cells))
    lines += [f"\n{row['name']} was not run: {row['not_run']}" for row in case["rows"] if "not_run" in row]
    return "\n".join([*lines, ""])


def _marked(table: str) -> str:
    """A table as the part of this page that docs/method.md shows, too."""
    title, rows = table.split("\n\n", 1)
    return f"{title}\n\n<!-- --8<-- [start:cost] -->\n\n{rows}\n<!-- --8<-- [end:cost] -->\n"


def precision_table(case: dict[str, Any], heading: str = "") -> str:
    """How far half precision is from float64, in units of how far the literal equations are."""
    size = "x".join(str(n) for n in (1, 32, *case["size"]))
    names = list(case["rows"][0]["errors"])
    lines = [f"{heading} {case['dtype']}, {size}, {case['features']} channels".strip(), ""]
    lines += [_line(["score_norm", "finite", *names]), _line(["---", "---", *["--:"] * len(names)])]
    for row in case["rows"]:
        ratios = [f"{row['errors'][name]['ratio']:.2f}" for name in names]
        lines.append(_line([row["score_norm"], "yes" if row["finite"] else "**no**", *ratios]))
    return "\n".join([*lines, ""])


def _title(case: dict[str, Any]) -> str:
    skip = "channels" in case
    size = "x".join(str(n) for n in (*([1, case["channels"]] if skip else [1, 1]), *case["size"]))
    title = f"{'Skip' if skip else 'Networks'}, {size}, {case['dtype']}, {case['memory_format']}"
    return title + (", compiled" if case.get("compiled") else "")


def _as_json(case: nets.NetCase) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(case)))
    return found


def _columns(kind: str, skip: bool) -> list[str]:
    return [f"{kind}, ms", "first row / this", *(["over floor"] if skip else []), "memory" + ("" if skip else ", MB")]


def _cells(cell: dict[str, float], first: float, skip: bool) -> list[str]:
    time = f"{1e3 * cell['median']:.0f} ({1e3 * cell['low']:.0f}–{1e3 * cell['high']:.0f})"
    ratio = f"{first / cell['median']:.2f}"
    if skip:
        return [time, ratio, f"{cell['over_floor']:.1f}", f"{cell['extra_maps']:.2f}"]
    return [time, ratio, f"{cell['extra_bytes'] / 1e6:.0f}"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text(page(reports), encoding="utf-8")


if __name__ == "__main__":
    main()
