"""Write the results of `benchmarks.loader.rendering` into docs/train/training.md, between two marks."""

from typing import Any

from benchmarks import DOCS, RESULTS, pages
from ltvs.runtime.files import read_json

RESULT, PAGE = RESULTS / "loader" / "rendering-cpu.json", DOCS / "train" / "training.md"
MAKER = "benchmarks.loader.rendering_tables"


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = []
    for row in report["rows"]:
        cells = [f"{timing['median']:.2f} s ({timing['low']:.2f} to {timing['high']:.2f})" for timing in _both(row)]
        render, step = _both(row)
        size = " x ".join(map(str, row["patch"]))
        rows.append([f"stage {row['stage']}, {size}", *cells, f"{step['median'] / render['median']:.1f}"])
    about = report["machine"]
    where = "on one core each" if about["device"] == "cpu" else "on the same GPU"
    lines = [
        pages.table(["patch", "to render", "training step", "patches rendered during one step"], rows),
        f"Medians of {report['rows'][0]['step']['calls']} alternating calls, {where}, with the lowest and the highest "
        f"in brackets. The networks are those of `make networks`. {about['name']}, {about['processors']} processors, "
        f"PyTorch {about['versions']['torch']}, commit {about['commit']}.\n",
    ]
    return "\n".join(lines)


def missed(report: dict[str, Any]) -> list[str]:
    """Return where rendering does not keep up with the step that it feeds, in words."""
    short = []
    for row in report["rows"]:
        render, step = _both(row)
        if not render["median"] <= step["median"]:
            short.append(
                f"stage {row['stage']}: rendering a patch takes {render['median']:.2f} s, a step {step['median']:.2f} s"
            )
    return short


def _both(row: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    return row["render"], row["step"]


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, text(read_json(RESULT)))


if __name__ == "__main__":
    main()
