"""The command line: what it accepts, says and leaves, on phantoms and on 3D-IRCADb as published."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import ltvs.sources.phantom
import prepare_ltvs
from ircadb_layout import nested, write_usual
from ltvs.case import Case
from ltvs.cli import run
from ltvs.errors import InputError
from ltvs.images import write_volume
from ltvs.prepared import PreparedSet
from prepare_ltvs import PrepareSettings, main
from tiny_cases import tiny_case

SMALL = {"pixels": 16, "slice_spacing": 3.0, "liver_pixels": 16, "liver_slice_spacing": 3.0, "workers": 1}


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    monkeypatch.setattr(sys, "argv", ["prepare_ltvs.py", *map(str, words), *flags])
    run(main, PrepareSettings)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float | None, sitk.Image | None]]:
    """What phantoms were asked for; a tiny case stands in for each."""
    asked = []

    def make_phantom(seed: int, *, matrix: int, slice_spacing: float | None, anatomy: sitk.Image | None) -> Case:
        asked.append((seed, matrix, slice_spacing, anatomy))
        return tiny_case(f"seed {seed}")

    monkeypatch.setattr(ltvs.sources.phantom, "make_phantom", make_phantom)
    return asked


def test_phantoms(tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "set ä"
    words = (
        "--source=phantom",
        "--output",
        out,
        "--count=7",
        "--seed=40",
        "--matrix=99",
        "--ct-slice-spacing=2.5",
        "--validation=2",
        "--test=3",
    )
    command(monkeypatch, *words)
    data = PreparedSet(out)
    assert data.cases == tuple(f"phantom-00{n}" for n in range(40, 47))
    assert {part: len(names) for part, names in data.split.items()} == {"train": 2, "validation": 2, "test": 3}
    assert made == [(seed, 99, 2.5, None) for seed in range(40, 47)]
    assert data.case(1, "phantom-0043").image.shape == (14, 16, 16)
    assert "7 cases of 7 patients in " in capsys.readouterr().out
    command(monkeypatch, *words)
    assert len(made) == 7, "a second run makes nothing"


def test_phantoms_around_anatomies(tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tmp_path / "maps"
    for name, label in (("b", 2), ("a", 1)):
        write_volume(sitk.GetImageFromArray(np.full((3, 4, 5), label, np.uint8)), maps / f"{name}.nii.gz")
    words = ("--source=phantom", "--output", tmp_path / "set", "--anatomy", maps)
    command(monkeypatch, *words, "--count=2")
    assert [int(sitk.GetArrayFromImage(anatomy).max()) for *_, anatomy in made] == [1, 2]
    with pytest.raises(InputError, match=r"--count: expected at most 2, one phantom per map in .*maps; got 3"):
        main(PrepareSettings("phantom", tmp_path / "set", count=3, anatomy=maps))
    with pytest.raises(InputError, match=r"expected label maps .* found none"):
        main(PrepareSettings("phantom", tmp_path / "set", count=1, anatomy=tmp_path))


def test_patients_and_a_bad_one_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    nested(write_usual(tmp_path / "in" / "3Dircadb1.1"))
    write_usual(tmp_path / "in" / "3Dircadb1.2", "another")
    (tmp_path / "in" / "3Dircadb1.3.zip").write_bytes(b"cut short")
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, "--source=ircadb", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "1 of 3 cases could not be prepared" in said.err
    (reason,) = (line for line in said.err.splitlines() if line.startswith("not prepared: "))
    assert reason.startswith("not prepared: ircadb-03: ")
    assert "3Dircadb1.3.zip: cannot be read as a zip" in reason
    assert "warning: too few patients to keep some apart" in said.out
    data = PreparedSet(tmp_path / "out")
    assert data.cases == ("ircadb-01", "ircadb-02")
    np.testing.assert_array_equal(data.case(2, "ircadb-01").labels, data.case(2, "ircadb-02").labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": 0}, "--pixels: expected more than 0; got 0"),
        ({"liver_slice_spacing": -1.0}, "--liver-slice-spacing: expected more than 0; got -1.0"),
        ({"workers": 0}, "--workers: expected more than 0; got 0"),
        ({"window": (240.0, -160.0)}, "--window: expected the lower bound first"),
        ({"margin": -0.5}, "--margin: expected 0 mm or more; got -0.5"),
        ({"folds": -1}, "--folds: expected 0 for none, or 2 or more; got -1"),
        ({"input": Path("a"), "output": Path("a/b")}, "--output a/b: lies in --input a, which is only read"),
    ],
)
def test_settings_that_make_no_sense(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(PrepareSettings("phantom", Path("unused")), **change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda out: PrepareSettings("ircadb", out), "--input: expected for --source ircadb"),
        (lambda out: PrepareSettings("phantom"), "--output: expected a folder for the prepared data set, or --check"),
        (lambda out: PrepareSettings("ircadb", out, input=out / "no"), "does not exist"),
        (lambda out: PrepareSettings("phantom", out, count=0), "--count: expected 1 or more; got 0"),
    ],
)
def test_input_that_cannot_be(tmp_path: Path, settings: Callable[[Path], PrepareSettings], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main(settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_split_that_cannot_be_is_said_before_the_work(tmp_path: Path, made: list) -> None:
    with pytest.raises(InputError, match="--validation 2 --test 3: expected to leave one or more of 4 patients"):
        main(PrepareSettings("phantom", tmp_path / "out", count=4, validation=2, test=3))
    assert made == []


def test_bad_settings_are_one_line_for_the_user() -> None:
    words = [sys.executable, prepare_ltvs.__file__, "--source=phantom", "--output=out", "--pixels=0"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--pixels: expected more than 0; got 0" in ended.stderr
    assert "Traceback" not in ended.stderr
