"""Pictures as arrays, the pixels in the color of a structure, and a disk that is full."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image


def picture(path: Path) -> np.ndarray:
    """Red, green, blue of a PNG, (rows, columns, 3)."""
    with Image.open(path) as file:
        assert file.format == "PNG"
        return np.asarray(file.convert("RGB")).astype(int)


def yellow(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 1] - pixels[..., 2] > 41  # more than the brown of the liver has


def blue(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 2] - pixels[..., 0] > 41


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every figure fail in the middle of being written."""

    def half(_: Figure, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
