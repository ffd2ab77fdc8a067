"""Whatever bytes a file of a CT has, reading ends in one line or gives a volume with a sound grid."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct
from support.enhanced_ct import write_frames
from support.ircadb_layout import write_series
from support.noise_volumes import FILES, noise, written

KINDS = [*(f"{suffix} {'compressed' * compressed}".strip() for suffix, compressed in FILES), "series", "frames"]


def read_or_reason(path: Path) -> sitk.Image | str:
    try:
        return read_ct(path)
    except InputError as error:
        return str(error)


@given(
    st.sampled_from(KINDS),
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([*b"\0\xff,\\-+eE019. \n:=", None])), min_size=1, max_size=4),
)
@settings(max_examples=100)
def test_any_bytes_give_an_error_or_a_sound_volume(
    kind: str, seed: int, changes: list[tuple[float, int | None]]
) -> None:
    """A change is a place and the byte put there, or None to flip a bit drawn from the seed."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be printed beside the one line
        folder = Path(name)
        path = folder / f"ct{kind.split()[0]}" if kind.startswith(".") else folder / "ct"
        if kind == "series":
            write_series(path, noise((4, 3, 3)))
        elif kind == "frames":
            write_frames(path, noise((4, 3, 3)))
        else:
            written(path, kind.endswith("compressed"))
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        file, flips = files[seed % len(files)], np.random.default_rng(seed)
        content = bytearray(file.read_bytes())
        for place, byte in changes:
            k = int(place * (len(content) - 1))
            content[k] = content[k] ^ (1 << int(flips.integers(8))) if byte is None else byte
        file.write_bytes(content)
        volume = read_or_reason(path)
    if isinstance(volume, str):
        assert str(path) in volume
        assert "\n" not in volume
        return
    direction = np.reshape(volume.GetDirection(), (3, 3))
    assert volume.GetDimension() == 3
    assert volume.GetPixelID() == sitk.sitkInt16
    assert 0.01 <= min(volume.GetSpacing()) <= max(volume.GetSpacing()) <= 100
    assert np.abs(volume.GetOrigin()).max() <= 1e5
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-6)
