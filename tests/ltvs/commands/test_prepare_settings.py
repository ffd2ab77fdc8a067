"""Settings of preparation: those that make no sense are refused, and the recipe tells what decides a case."""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import prepare_ltvs
from ltvs.phantom.cohort import VERSION
from ltvs.runtime.errors import InputError
from prepare_ltvs import PrepareSettings, main


def test_what_decides_the_content_of_a_case_is_in_its_recipe() -> None:
    phantom = PrepareSettings("phantom").recipe().source
    assert phantom["version"] == VERSION
    found, less = (PrepareSettings("msd08", liver_from=Path("a"), smallest_liver=ml).recipe() for ml in (None, 1.0))
    assert found.json() != less.json(), "a case that one refuses, the other prepares"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "kits"}, "--source: expected phantom, ircadb, .*; got 'kits'; give one of these"),
        ({"pixels": 0}, "--pixels: expected more than 0; got 0"),
        ({"liver_slice_spacing": -1.0}, "--liver-slice-spacing: expected more than 0; got -1.0"),
        ({"workers": 0}, "--workers: expected more than 0; got 0"),
        ({"window": (240.0, -160.0)}, "--window: expected the lower bound first"),
        ({"margin": -0.5}, "--margin: expected 0 mm or more; got -0.5"),
        ({"maps": -1}, "--maps: expected 0 or more, with --source phantom only; got -1, phantom"),
        ({"maps": 2, "source": "lits"}, "--maps: expected 0 or more, with --source phantom only; got 2, lits"),
        ({"source": "msd08", "smallest_liver": -1.0}, "--smallest-liver: expected 0 ml or more; got -1.0"),
        ({"source": "msd08", "smallest_liver": math.nan}, "--smallest-liver: expected 0 ml or more; got nan"),
        ({"folds": -1}, "--folds: expected 0 for none, or 2 or more; got -1"),
        (
            {"liver": Path("a")},
            "--liver-from, --smallest-liver: expected with --source msd08 only; got --source phantom",
        ),
        (
            {"liver_from": Path("a")},
            "--liver, --liver-from, .*: expected with --source msd08 only; got --source phantom",
        ),
        ({"smallest_liver": 1.0}, "--liver-from, --smallest-liver: expected with --source msd08 only"),
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
        (lambda out: PrepareSettings("ircadb", out, input=out / "no"), "--input .*no: does not exist"),
        (lambda out: PrepareSettings("lits", out, input=out / "no"), "--input .*no: does not exist"),
        (lambda out: PrepareSettings("crlm", out), "--input: expected for --source crlm"),
        (lambda out: PrepareSettings("msd08", out, input=out.parent), "expected --liver DIR .* got neither"),
        (lambda out: PrepareSettings("phantom", out, count=0), "--count: expected 1 or more; got 0"),
    ],
)
def test_input_that_cannot_be(tmp_path: Path, settings: Callable[[Path], PrepareSettings], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main(settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_bad_settings_are_one_line_for_the_user() -> None:
    words = [sys.executable, prepare_ltvs.__file__, "--source=phantom", "--output=out", "--pixels=0"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--pixels: expected more than 0; got 0" in ended.stderr
    assert "Traceback" not in ended.stderr
