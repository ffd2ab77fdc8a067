"""The main results of docs/understand/speed.md in one table: a skip, a training step and a whole prediction."""

from typing import Any

from benchmarks import pages
from benchmarks.prediction.tables import of_side

#: What is timed, the row of this package and the row that it is compared with, with the name that the table shows.
SKIPS = (
    ("skip, forward + backward", "CSCA cpp", "CSCA reference", "the literal equations"),
    ("the same and the next convolution", "CSCA and convolution", "concatenation and convolution", "concatenation"),
)
STEPS = (("UNet3d", "`UNet3d`"), ("MONAI BasicUNet", "MONAI's BasicUNet"))
PRECISIONS = {"32": "float32", "bf16-mixed": "bfloat16"}
SPEED = "`python -m benchmarks.speed --device cpu`"
PREDICTION = "`python -m benchmarks.prediction --input 3Dircadb1.17.zip`"


def summary(reports: list[dict[str, Any]], prediction: dict[str, Any]) -> str:
    """Return the table as Markdown.

    Args:
        reports: of `benchmarks.speed` on CPUs with the usual allocator; the first with skips and the first with nets
            are shown, each with its first case.
        prediction: the report of `benchmarks.prediction`.
    """
    rows = []
    of_skips, of_nets = (next(report for report in reports if report[part]) for part in ("skips", "nets"))
    named = {row["name"]: row["forward_backward"] for row in of_skips["skips"][0]["rows"]}
    for what, ours, other, shown in SKIPS:
        cells = [_cells(named[name]["median"], f"{named[name]['extra_maps']:.2f} maps") for name in (ours, other)]
        rows.append([what, shown, *_beside(*cells), f"{SPEED}, {_on(of_skips)}"])
    steps = {row["name"]: row["training_step"] for row in of_nets["nets"][0]["rows"]}
    for other, shown in STEPS:
        found = [steps[name] for name in ("UCANet", other)]
        cells = [_cells(step["median"], f"{step['extra_bytes'] / 1e6:.0f} MB") for step in found]
        rows.append(["training step of `UCANet`", shown, *_beside(*cells), f"{SPEED}, {_on(of_nets)}"])
    for precision, dtype in PRECISIONS.items():
        sides = [of_side(prediction["runs"], side, precision) for side in ("ours", "monai")]
        cells = [(f"{side['seconds']:.1f} s", f"{side['peak_bytes'] / 1e9:.2f} GB") for side in sides]
        rows.append([f"labels of a whole CT, {dtype}", "MONAI", *_beside(*cells), f"{PREDICTION}, {_on(prediction)}"])
    heads = ["measured", "compared with", "time", "its time", "memory", "its memory", "by, on"]
    return pages.table(heads, rows, words=2)


def _cells(seconds: float, memory: str) -> tuple[str, str]:
    return f"{1e3 * seconds:.0f} ms", memory


def _beside(ours: tuple[str, str], other: tuple[str, str]) -> list[str]:
    return [cell for pair in zip(ours, other, strict=True) for cell in pair]


def _on(report: dict[str, Any]) -> str:
    about = report["machine"]
    return f"{about['name']}, {about['threads']} threads"
