"""`python -m benchmarks.loader.tables` writes the results into docs/data.md, between two marks."""

import json
from math import prod
from typing import Any

from benchmarks import marks
from benchmarks.loader import ROOT

RESULT, PAGE = ROOT / "benchmarks" / "results" / "loader" / "cpu.json", ROOT / "docs" / "data.md"
MAKER = "benchmarks.loader.tables"

OURS, OURS_MOVED, PERSISTENT = "ours", "ours, liver's surface moved", "MONAI PersistentDataset"
CACHE = "MONAI CacheDataset"
#: Times the patches per second of MONAI's PersistentDataset, and what more cases may add to the memory.
RATIO, GROWTH = 3.0, 1.1


def ratio(report: dict[str, Any]) -> float:
    """Our patches per second over those of MONAI's PersistentDataset, for the same work."""
    return float(report["rates"][OURS]["median"] / report["rates"][PERSISTENT]["median"])


def growth(report: dict[str, Any], name: str = OURS) -> float:
    """Memory with most cases over memory with fewest."""
    sizes = report["memory"][name]
    return float(sizes[max(sizes, key=int)] / sizes[min(sizes, key=int)])


def needed(report: dict[str, Any]) -> dict[str, float]:
    """Patches of the benchmark's size that a training step takes in per second, by device.

    The step of this machine is timed on a smaller patch; a net takes in as many voxels per second in larger ones.
    """
    step = report["step"]
    here = {"this machine": prod(step["patch"]) / prod(report["patch"]) / step["seconds"]}
    return here | {gpu["name"]: 1 / gpu["seconds"] for gpu in report["gpus"]}


def text(report: dict[str, Any]) -> str:
    """The results as Markdown."""
    numbers = list(report["memory"][OURS])
    heads = [f"memory, {number} cases" for number in numbers]
    lines = [
        f"| loader | patches/s | times PersistentDataset | {' | '.join(heads)} |",
        f"| --- | --: | --: | {' | '.join('--:' for _ in heads)} |",
    ]
    base = report["rates"][PERSISTENT]["median"]
    for name, rate in report["rates"].items():
        held = report["memory"].get(name, {})
        sizes = [f"{held[number] / 2**30:.2f} GiB" if held else "" for number in numbers]
        cells = [
            name,
            f"{rate['median']:.1f} ({rate['low']:.1f} to {rate['high']:.1f})",
            f"{rate['median'] / base:.1f}",
        ]
        lines.append(f"| {' | '.join(cells + sizes)} |")
    d, h, w = report["patch"]
    step, about = report["step"], report["machine"]
    lines += [
        "",
        f"Patches of {d} x {h} x {w} in batches of {report['batch']}, {report['workers']} workers; medians of "
        f"{report['rates'][OURS]['rounds']} rounds in turns, lowest and highest in brackets. Memory is the most that "
        "the process and its workers held together.",
        "",
        f"A training step of UCA-Net takes {step['seconds']:.1f} s for a patch of "
        f"{' x '.join(map(str, step['patch']))} on this machine: as many voxels per second as "
        f"{needed(report)['this machine']:.2f} of the patches above.",
    ]
    for gpu in report["gpus"]:
        how = gpu["dtype"] + (", compiled" if gpu["compiled"] else "")
        lines.append(
            f"On {gpu['name']} ({how}) it takes {gpu['seconds']:.3f} s for a patch of {d} x {h} x {w}, "
            f"{1 / gpu['seconds']:.1f} patches/s."
        )
    if not report["gpus"]:
        lines.append("No step on a GPU has been timed yet.")
    lines += [
        "",
        f"{about['name']}, {about['processors']} processors, shared, with a load of {report['load']:.1f} before the "
        f"run; {report['case']}; MONAI {about['versions']['monai']}, PyTorch {about['versions']['torch']}, commit "
        f"{about['commit']}.",
        "",
    ]
    return "\n".join(lines)


def missed(report: dict[str, Any]) -> list[str]:
    """What falls short of what is asked, in words."""
    short = []
    if not ratio(report) >= RATIO:
        short.append(f"speed: {ratio(report):.1f} times MONAI's PersistentDataset, at least {RATIO:g} asked")
    if not growth(report) <= GROWTH:
        short.append(f"memory: {growth(report):.2f} times as much with more cases, at most {GROWTH:g} asked")
    rate = report["rates"][OURS_MOVED]["median"]
    short += [
        f"a training step on {name} takes in {asked:.1f} patches/s, {rate:.1f} are there"
        for name, asked in needed(report).items()
        if not rate >= asked
    ]
    return short


def main() -> None:
    marks.write(PAGE, MAKER, text(json.loads(RESULT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
