"""Tumors counted one by one, as files and tables show them: all sizes together, and by longest axial diameter."""

from collections.abc import Collection, Mapping

from rich.table import Table
from rich.text import Text

from ltvs.evaluation.lesion_counts import OVERLAP, SIZES, LesionCounts, count_lesions_by_size
from ltvs.evaluation.metrics import Mask
from ltvs.volume.grids import Grid

#: What becomes of the lesions of the reference (the first two) and of the prediction.
OUTCOMES = ("found", "missed", "confirmed", "false")
#: Keys of the counts: those of all sizes, then those of each size.
COUNTS = (*OUTCOMES, *(f"{outcome}_{size}" for size in SIZES for outcome in OUTCOMES))

_HEADINGS = ("all", "< 10", "10-20", "> 20")


def lesion_scores(prediction: Mask, reference: Mask, grid: Grid) -> dict[str, float | None]:
    """Return the numbers of lesions by the keys of `COUNTS`.

    Args:
        prediction: mask of tumors, (d, h, w).
        reference: mask of tumors, (d, h, w).
        grid: of both.
    """
    by_size = count_lesions_by_size(prediction, reference, grid)
    counts = {"": sum(by_size.values(), LesionCounts()), **{f"_{size}": of for size, of in by_size.items()}}
    return {f"{outcome}{size}": getattr(of, outcome) for size, of in counts.items() for outcome in OUTCOMES}


def sum_lesions(cases: Collection[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the sums over cases, with `recall` and `precision` of all lesions; None for these if there are none."""
    sums = {key: sum(int(case[key] or 0) for case in cases) for key in COUNTS}
    found, missed, confirmed, false = (sums[outcome] for outcome in OUTCOMES)
    of_all = LesionCounts(found + missed, found, confirmed + false, confirmed)
    return {**sums, "recall": of_all.recall, "precision": of_all.precision}


def lesion_table(methods: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return a table with a row per method: lesions found and false, each of how many, of all sizes and by size.

    Args:
        methods: what `sum_lesions` returns, by method.
    """
    caption = (
        "Tumors one by one, by longest axial diameter in mm. A tumor of the reference is found if at least "
        f"{OVERLAP:.0%} of it is predicted. A predicted tumor is false if less than {OVERLAP:.0%} of it is in the "
        "reference."
    )
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    table.add_column("\nMethod", overflow="fold")
    shares = (("found", "missed"), ("false", "confirmed"))
    for title, _ in shares:
        for i, heading in enumerate(_HEADINGS):
            table.add_column(f"{'' if i else title}\n{heading}", justify="right", no_wrap=True)
    sizes = ("", *(f"_{size}" for size in SIZES))
    for method, counts in methods.items():
        table.add_row(Text(method), *(_share(counts, *pair, size) for pair in shares for size in sizes))
    return table


def _share(counts: Mapping[str, float | None], part: str, rest: str, size: str) -> str:
    """Return how many lesions of a size have one outcome, of those that have this or the other one."""
    some, others = (int(counts[f"{outcome}{size}"] or 0) for outcome in (part, rest))
    return f"{some}/{some + others}"
