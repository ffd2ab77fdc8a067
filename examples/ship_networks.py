"""Write both networks of a run in half precision, without anything about their training."""

from dataclasses import dataclass
from pathlib import Path

from ltvs.model.shipping import ship_networks
from ltvs.runtime.command_line import run


@dataclass(frozen=True)
class ShipSettings:
    """Settings of shipping."""

    run: Path
    """Folder of a run with both stages trained, as train_ltvs.py writes it."""
    output: Path
    """Folder to create. Every command accepts it as --run."""
    overwrite: bool = False
    """Replace the networks in --output if it exists. A README.md in it is kept."""


def main(settings: ShipSettings) -> None:
    """Write both networks of a run in half precision, with only the settings that prediction needs."""
    size = ship_networks(settings.run, settings.output, overwrite=settings.overwrite)
    print(f"networks: {settings.output} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    run(main, ShipSettings)
