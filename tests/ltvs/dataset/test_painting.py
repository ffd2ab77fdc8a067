"""Painting maps into a data set: each once, whole or absent, and again if an older version painted it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ltvs.dataset import painting
from ltvs.dataset.layout import MAPS
from ltvs.dataset.painting import paint_all
from ltvs.phantom.maps import FORMAT, open_maps
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import TEMPORARY, write_json


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch, coarse_maps: Path) -> list[int]:
    """The seeds that were painted; the maps of one patient stand in for those of all."""
    seeds: list[int] = []

    def paint_maps(seed: int, folder: Path) -> None:
        seeds.append(seed)
        if seed == 13:
            raise InputError("no paint left")
        shutil.copytree(coarse_maps, folder, dirs_exist_ok=True)

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
    (old / "other").touch()
    assert paint_all(2, tmp_path, 1) == 1
    assert painted == [0, 1, 1]
    assert not (old / "other").exists()


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["body.npy", "liver.npy", "places.npy", "map.json"])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 50), Path.unlink, change_a_byte])
def test_damaged_maps_are_painted_again(tmp_path: Path, painted: list[int], name: str, damage: Callable) -> None:
    paint_all(2, tmp_path, 1)
    damage(tmp_path / MAPS / "0001" / name)
    assert paint_all(2, tmp_path, 1) == 1
    assert painted == [0, 1, 1]
    open_maps(tmp_path / MAPS / "0001")


def test_maps_from_before_digests_were_kept_stay(tmp_path: Path, painted: list[int]) -> None:
    paint_all(1, tmp_path, 1)
    (tmp_path / MAPS / "0000" / "digests.json").unlink()
    assert paint_all(1, tmp_path, 1) == 0
    (tmp_path / MAPS / "0000" / "digests.json").write_text("{")
    assert paint_all(1, tmp_path, 1) == 1


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path, painted: list[int]) -> None:
    (tmp_path / MAPS / f"{TEMPORARY}x" / "0000").mkdir(parents=True)
    paint_all(1, tmp_path, 1)
    assert [path.name for path in (tmp_path / MAPS).iterdir()] == ["0000"]


def test_a_map_that_cannot_be_painted_is_named_and_leaves_nothing(tmp_path: Path, painted: list[int]) -> None:
    with pytest.raises(InputError, match=r"0013: cannot be painted \(no paint left\)"):
        paint_all(14, tmp_path, 1)
    assert painted == list(range(14))
    assert not (tmp_path / MAPS / "0013").exists()
    assert not [path for path in (tmp_path / MAPS).iterdir() if path.name.startswith(".")]
