"""Write the results of `benchmarks.synthesis` into docs/appendix/networks.md, between two marks."""

from statistics import fmean
from typing import Any

from benchmarks import DOCS, RESULTS, pages
from ltvs.runtime.files import read_json
from ltvs.volume.labels import STRUCTURES

RESULT, PAGE = RESULTS / "synthesis" / "cpu.json", DOCS / "appendix" / "networks.md"
MAKER = "benchmarks.synthesis.tables"


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown: a row for each way to make the images, a column for each score of a cohort."""
    first = next(iter(report["rows"].values()))["cases"]
    columns = [(source, name) for source, cases in first.items() for name in _scored(cases)]
    rows = [
        [name, *(_cell(_mean(row["cases"][source], score), score) for source, score in columns)]
        for name, row in report["rows"].items()
    ]
    heads = ["training images", *(f"{source}, {score.replace('_', ' ')}" for source, score in columns)]
    cases = ", ".join(f"{source} {len(of)}" for source, of in first.items())
    hours = sum(row["train_seconds"] for row in report["rows"].values()) / 3600
    about = report["machine"]
    lines = [
        pages.table(heads, rows),
        "Liver: Dice of the liver that stage 1 finds. Vessel, tumor and false tumor: Dice and milliliters of stage 2 "
        f"in the labeled liver. Means over cases: {cases}. {report['steps']} steps of one patch for each network, "
        f"precision {report['precision']}, {report['maps']} synthetic patients, one seed. {hours:.1f} hours on "
        f"{about['name']}, {about['processors']} processors, PyTorch {about['versions']['torch']}, commit "
        f"{about['commit']}.\n",
    ]
    return "\n".join(lines)


def _scored(cases: dict[str, Any]) -> list[str]:
    """Return the scores that the cases of a cohort have."""
    names = [name for name in STRUCTURES if any(case["dice"].get(name) is not None for case in cases.values())]
    return [*names, "false_tumor_ml"]


def _mean(cases: dict[str, Any], score: str) -> float | None:
    """Return the mean of a score over the cases that have it."""
    values = [case[score] if score == "false_tumor_ml" else case["dice"].get(score) for case in cases.values()]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _cell(value: float | None, score: str) -> str:
    return "-" if value is None else format(value, ".1f" if score == "false_tumor_ml" else ".3f")


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, text(read_json(RESULT)))


if __name__ == "__main__":
    main()
