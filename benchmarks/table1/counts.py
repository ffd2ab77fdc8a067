"""The parameters of the ten systems beside those that the paper prints."""

from typing import Any

import torch

from benchmarks import pages
from ltvs.model.stages import CLASSES
from ltvs.model.systems.registry import NETWORKS, TABLE_1, Network, make_system

#: Why a count that is not settled differs.
REASONS: dict[Network, str] = {
    "uctransnet": "the paper prints the count that the network's own paper quotes",
    "transunet": "same architecture; it is unknown what else the paper counts",
    "attention_unet": "no documented network has the printed count; this one comes nearest",
    "uxnet": "the network as published today; its first version has 58.80 M",
}


def counted() -> dict[Network, int]:
    """Return the parameters of each system with one input channel and stage 2's classes."""
    with torch.device("meta"):
        nets = {network: make_system(network, 1, len(CLASSES[2])) for network in NETWORKS}
    return {network: sum(p.numel() for p in net.parameters()) for network, net in nets.items()}


def wrong(counts: dict[Network, int]) -> list[str]:
    """Return a line for each settled count that does not round to what the paper prints."""
    return [
        f"{TABLE_1[network].title}: expected {TABLE_1[network].millions} M parameters, as printed; got {count:,}"
        for network, count in counts.items()
        if TABLE_1[network].settled and millions(count) != TABLE_1[network].millions
    ]


def millions(count: int) -> str:
    """Return a number of parameters as the paper prints it.

    Example:
        >>> millions(5_905_452)
        '5.91'
    """
    return f"{count / 1e6:.2f}"


def table(counts: dict[Network, int]) -> str:
    """Return the counts as Markdown."""
    rows = [_row(network, count) for network, count in counts.items()]
    return pages.table(["system", "`--network`", "verdict", "printed, M", "here, M", "parameters here"], rows, words=3)


def _row(network: Network, count: int) -> list[str]:
    printed, here = TABLE_1[network], millions(count)
    difference = (count / 1e6 / float(printed.millions) - 1) * 100
    verdict = "equal" if here == printed.millions else "**differs**"
    if not printed.settled:
        verdict = f"{difference:+.2f}%: {REASONS[network]}"
    return [printed.title, f"`{network}`", verdict, printed.millions, here, f"{count:,}"]


def report(counts: dict[Network, int]) -> dict[str, Any]:
    """Return the counts as JSON holds them."""
    return {network: {"printed": TABLE_1[network].millions, "parameters": count} for network, count in counts.items()}
