"""Write the results of `benchmarks.loader` into docs/train/data.md, between two marks."""

from math import prod
from typing import Any

from benchmarks import DOCS, RESULTS, pages
from ltvs.runtime.files import read_json

RESULT, PAGE = RESULTS / "loader" / "cpu.json", DOCS / "train" / "data.md"
MAKER = "benchmarks.loader.tables"

OURS, OURS_MOVED, PERSISTENT = "ours", "ours, liver's surface moved", "MONAI PersistentDataset"
CACHE = "MONAI CacheDataset"
#: Targets: times the patches per second of MONAI's PersistentDataset, and the growth of memory with more cases.
RATIO, GROWTH = 3.0, 1.1


def ratio(report: dict[str, Any]) -> float:
    """Return our patches per second over those of MONAI's PersistentDataset, for the same work."""
    return float(report["rates"][OURS]["median"] / report["rates"][PERSISTENT]["median"])


def growth(report: dict[str, Any], name: str = OURS) -> float:
    """Return the memory with most cases over the memory with fewest."""
    sizes = report["memory"][name]
    return float(sizes[max(sizes, key=int)] / sizes[min(sizes, key=int)])


def needed(report: dict[str, Any]) -> dict[str, float]:
    """Return the patches of the benchmark's size that a training step consumes per second, by device.

    The step of this machine is timed on a smaller patch; a net takes in as many voxels per second in larger ones.
    """
    step = report["step"]
    here = {"this machine": prod(step["patch"]) / prod(report["patch"]) / step["seconds"]}
    return here | {gpu["name"]: 1 / gpu["seconds"] for gpu in report["gpus"]}


def text(report: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    numbers = list(report["memory"][OURS])
    base = report["rates"][PERSISTENT]["median"]
    rows = []
    for name, rate in report["rates"].items():
        held = report["memory"].get(name, {})
        sizes = [f"{held[number] / 2**30:.2f} GiB" if held else "" for number in numbers]
        rate_and_range = f"{rate['median']:.1f} ({rate['low']:.1f} to {rate['high']:.1f})"
        rows.append([name, rate_and_range, f"{rate['median'] / base:.1f}", *sizes])
    heads = ["loader", "patches/s", "times PersistentDataset", *(f"memory, {number} cases" for number in numbers)]
    size = " x ".join(map(str, report["patch"]))
    step, about = report["step"], report["machine"]
    gpus = [
        f"On {gpu['name']} ({gpu['dtype']}{', compiled' if gpu['compiled'] else ''}) it takes {gpu['seconds']:.3f} s "
        f"for a patch of {size}, {1 / gpu['seconds']:.1f} patches/s."
        for gpu in report["gpus"]
    ]
    lines = [
        pages.table(heads, rows),
        f"Patches of {size} in batches of {report['batch']}, {report['workers']} workers; medians of "
        f"{report['rates'][OURS]['rounds']} alternating rounds, with the lowest and the highest in brackets. "
        "Memory is the most that the process and its workers held together.\n",
        f"On this machine, a training step of UCA-Net takes {step['seconds']:.1f} s for a patch of "
        f"{' x '.join(map(str, step['patch']))}. Counted in voxels, that is "
        f"{needed(report)['this machine']:.2f} patches of {size} per second.",
        *(gpus or ["No step on a GPU has been timed yet."]),
        f"\n{about['name']}, {about['processors']} processors, shared, with a load of {report['load']:.1f} before the "
        f"run; {report['case']}; MONAI {about['versions']['monai']}, PyTorch {about['versions']['torch']}, commit "
        f"{about['commit']}.\n",
    ]
    return "\n".join(lines)


def missed(report: dict[str, Any]) -> list[str]:
    """Return the targets that are missed, in words."""
    short = []
    if not ratio(report) >= RATIO:
        short.append(f"speed: {ratio(report):.1f} times MONAI's PersistentDataset, expected at least {RATIO:g}")
    if not growth(report) <= GROWTH:
        short.append(f"memory: {growth(report):.2f} times as much with more cases, expected at most {GROWTH:g}")
    rate = report["rates"][OURS_MOVED]["median"]
    return short + [
        f"a training step on {name} uses {asked:.1f} patches/s, but the loader delivers {rate:.1f}"
        for name, asked in needed(report).items()
        if not rate >= asked
    ]


def main() -> None:
    pages.take_no_options(MAKER, __doc__)
    pages.write(PAGE, MAKER, text(read_json(RESULT)))


if __name__ == "__main__":
    main()
