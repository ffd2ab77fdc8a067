"""The settings that decide which files are made for each CT, and the names of these files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ltvs.runtime.errors import few
from ltvs.volume.images import stem
from ltvs.volume.labels import STRUCTURES

#: Files of every case, besides the labels.
ALWAYS = (".png", ".measurements.json", ".measurements.csv")
PAGE, SEGMENTATION = ".html", ".seg.dcm"


@dataclass(frozen=True)
class Asked:
    """What is asked for of every CT.

    Args:
        networks: folder of both stages.
        smallest_liver: ml.
        force: take CTs that the checks take for none.
        precision: `auto`, or of the layers.
        tta: average over mirrored CTs.
        html: write a page to look at.
        dicom_seg: write the labels as DICOM, too.
        meshes: format of the surfaces to write, if any.
    """

    networks: Path
    smallest_liver: float
    force: bool = False
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    tta: bool = False
    html: bool = False
    dicom_seg: bool = False
    meshes: Literal["stl", "ply"] | None = None

    def of_labels(self) -> dict[str, Any]:
        """Return the options that the labels depend on, networks aside."""
        named = asdict(self)
        return {name: named[name] for name in ("smallest_liver", "force", "precision", "tta")}

    def differing(self, made: Mapping[str, Any]) -> list[str]:
        """Return the options with which labels would differ from those made with others.

        Args:
            made: `of_labels` of these.
        """
        # Labels of a CT that passed the checks are those that --force would have given.
        kept = ["force"] if self.force and made.get("force") is False else []
        return [name for name, value in self.of_labels().items() if made.get(name) != value and name not in kept]

    def endings(self) -> tuple[str, ...]:
        """Return the endings of the files that may be made of a CT, besides the labels."""
        more = [PAGE] * self.html + [SEGMENTATION] * self.dicom_seg
        if self.meshes is not None:
            more += [mesh_ending(name, self.meshes) for name in STRUCTURES]
        return (*ALWAYS, *more)


def mesh_ending(structure: str, format_name: str) -> str:
    """Return the ending of the surface of a structure: `.liver.stl`."""
    return f".{structure}.{format_name}"


def beside(labels: Path, ending: str) -> Path:
    """Return the name of a file of the case with these labels: `a/x.png` for `a/x.nii.gz` and `.png`."""
    return labels.with_name(stem(labels) + ending)


def not_of_these(labels: Path, asked: Asked) -> str:
    """Return a line that names the files beside new labels that are from earlier ones; empty if there are none."""
    others = (beside(labels, ending) for ending in _KINDS if ending not in asked.endings())
    there = [file.name for file in others if file.exists()]
    return f"these files are from earlier labels; remove those that are out of date: {few(there)}" if there else ""


def kind_of(file: Path) -> str:
    """Return what a file of a case holds, in a word or two."""
    return next((kind for ending, kind in _KINDS.items() if file.name.endswith(ending)), "labels")


_KINDS = {
    **dict(zip(ALWAYS, ("picture", "measurements", "measurements"), strict=True)),
    PAGE: "page",
    SEGMENTATION: "DICOM",
    **{mesh_ending(name, kind): "surface" for name in STRUCTURES for kind in ("stl", "ply")},
}
