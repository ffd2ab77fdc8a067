"""Make a MONAI bundle of a trained run."""

from dataclasses import dataclass
from pathlib import Path

from ltvs.bundle.write import make_bundle
from ltvs.runtime.command_line import run


@dataclass(frozen=True)
class BundleSettings:
    """Settings of the bundle."""

    run: Path
    """Folder of a run with both stages trained, as train_ltvs.py writes it."""
    output: Path
    """Folder to create. Its name is the name of the bundle."""
    authors: str = "not stated"
    """Authors of the networks, for the bundle's metadata."""
    copyright: str = "not stated"
    """Copyright notice of the networks, for the bundle's metadata."""
    overwrite: bool = False
    """Replace the bundle in --output if it exists."""


def main(settings: BundleSettings) -> None:
    """Make a MONAI bundle of a trained run.

    `python -m monai.bundle run` then labels a CT in the same way as predict_ltvs.py.
    """
    make_bundle(settings.run, settings.output, settings.authors, settings.copyright, overwrite=settings.overwrite)
    print(f"bundle: {settings.output}")


if __name__ == "__main__":
    run(main, BundleSettings)
