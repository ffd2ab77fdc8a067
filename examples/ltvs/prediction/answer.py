"""The result of labeling a CT, and the interface of what labels one, without the libraries that do it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ltvs.prediction.found import FoundCT
from ltvs.runtime.errors import InputError

#: Called with the step, the patches that are done, and all of it.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Answer:
    """What was found in a CT.

    Args:
        numbers: ml of `liver`, `vessel` and `tumor`, and the number of `tumors`.
        doubts: signs of distrust.
        bodies: ml of the bodies that stage 1 found.
        no_liver: the reason why there is none of it, and no file was written.
    """

    numbers: dict[str, float]
    doubts: tuple[str, ...] = ()
    bodies: tuple[float, ...] = ()
    no_liver: str = ""


class NetworksError(InputError):
    """The networks cannot be loaded, so that no CT can be labeled."""


class Labeler(Protocol):
    """Labels CTs and writes their files."""

    def label(self, ct: FoundCT, labels: Path, progress: Progress) -> Answer:
        """Label a CT; write `labels` and all files beside it."""

    def add(self, ct: FoundCT, source: Path, bodies: tuple[float, ...], labels: Path, endings: Iterable[str]) -> None:
        """Write files that are missing beside the labels in `source`, as if beside `labels`."""
