"""Painting maps into a data set: each once, whole or absent, and again if an older version painted it."""

from pathlib import Path

import pytest

from ltvs.dataset import painting
from ltvs.dataset.layout import MAPS
from ltvs.dataset.painting import paint_all
from ltvs.phantom.maps import FORMAT
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that were painted; a small file stands in for the maps."""
    seeds: list[int] = []

    def paint_maps(seed: int, folder: Path) -> None:
        seeds.append(seed)
        if seed == 13:
            raise InputError("no paint left")
        write_json(folder / "map.json", {"format": FORMAT, "seed": seed})

    monkeypatch.setattr(painting, "paint_maps", paint_maps)
    return seeds


def test_maps_are_painted_once(tmp_path: Path, painted: list[int]) -> None:
    assert paint_all(3, tmp_path, 1) == 3
    assert paint_all(4, tmp_path, 1) == 1
    assert painted == [0, 1, 2, 3]
    assert sorted(path.name for path in (tmp_path / MAPS).iterdir()) == ["0000", "0001", "0002", "0003"]


def test_maps_of_an_older_version_are_painted_again(tmp_path: Path, painted: list[int]) -> None:
    paint_all(2, tmp_path, 1)
    old = tmp_path / MAPS / "0001"
    write_json(old / "map.json", {"format": FORMAT - 1})
    (old / "liver.npy").touch()
    assert paint_all(2, tmp_path, 1) == 1
    assert painted == [0, 1, 1]
    assert [path.name for path in old.iterdir()] == ["map.json"]


def test_a_map_that_cannot_be_painted_is_named_and_leaves_nothing(tmp_path: Path, painted: list[int]) -> None:
    with pytest.raises(InputError, match=r"0013: cannot be painted \(no paint left\)"):
        paint_all(14, tmp_path, 1)
    assert painted == list(range(14))
    assert not (tmp_path / MAPS / "0013").exists()
    assert not [path for path in (tmp_path / MAPS).iterdir() if path.name.startswith(".")]
