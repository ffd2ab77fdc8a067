"""The defaults are those that docs/understand/choices.md states, and the paper's but for those that it lists."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from crossattn3d import UCANet
from predict_ltvs import PredictSettings
from prepare_ltvs import PrepareSettings
from support.markdown_tables import rows_of
from support.pages import ROOT
from train_ltvs import TrainSettings

#: What the paper prints (sections 2.2 and 3.1, Eq. 2 and 4), by the names of settings.
PAPER: dict[str, Any] = {
    "window": (-160.0, 240.0),
    "slice_spacing": 1.0,
    "pixels": 320,
    "liver_slice_spacing": 1.0,
    "liver_pixels": 320,
    "patch": (32, 320, 320),
    "overlap": (16, 0, 0),
    "skip": "csca",
    "score_norm": "none",
    "residual": False,
    "gated": False,
    "loss": "dice",
    "learning_rate": 1e-3,
    "batch_size": 4,
    "epochs": 300,
    "augment": False,
    "jitter": 0.0,
    "seeds": 5,
    "devices": 2,
    # Options that change what the paper describes, where it mentions nothing of that kind.
    "smallest_liver": 0.0,
    "calibrate": False,
    "foreground": 0.0,
    "render": 0,
    "fixed": (),
    "init": None,
    "ema": 0.0,
    "clip_norm": 0.0,
}


def section(page: str, heading: str) -> str:
    """Return the table below a heading of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {heading}\n(?:[^|\n]*\n)*((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    assert found, heading
    return found[1]


DIFFER = rows_of(section("understand/choices.md", "Where the defaults differ from the paper"))
FROM = rows_of(section("appendix/study.md", "Where each default comes from"))


def ours() -> dict[str, Any]:
    """Return the defaults of training, preparation and prediction by their names."""
    found: dict[str, Any] = {}
    # The last one counts: preparation has a --smallest-liver of its own, prediction a --precision.
    for settings in (PrepareSettings, PredictSettings, TrainSettings):
        for field in dataclasses.fields(settings):
            if field.default is not dataclasses.MISSING:
                found[field.name] = field.default
    return found


def stated(cell: str) -> dict[str, tuple[bool, str]]:
    """Return the settings that a cell names with their value, and whether it names them as options."""
    found = {}
    for code in re.findall(r"`([^`]+)`", cell):
        if option := re.fullmatch(r"--(no-)?([a-z-]+)(?: (.+))?", code):
            value = option[3] or str(not option[1])
            found[option[2].replace("-", "_")] = (True, value)
        elif argument := re.fullmatch(r'(\w+)="?([^"]+)"?', code):
            found.setdefault(argument[1], (False, argument[2]))
    return found


def same(value: Any, text: str) -> bool:
    """Return whether a text on the page says this value."""
    values = value if isinstance(value, tuple) else (value,)
    words = text.split() if isinstance(value, tuple) else [text]
    if len(values) != len(words):
        return False
    number = [isinstance(one, (int, float)) and not isinstance(one, bool) for one in values]
    return all(
        float(word) == one if is_number else word == str(one)
        for one, word, is_number in zip(values, words, number, strict=True)
    )


CELLS = [(name, *found) for cell in (*DIFFER, *FROM) for name, found in stated(cell).items()]


@pytest.mark.parametrize(("name", "option", "text"), CELLS)
def test_the_page_states_the_defaults(name: str, option: bool, text: str) -> None:
    net = {key: p.default for key, p in inspect.signature(UCANet.__init__).parameters.items()}
    default = ours()[name] if option or name not in net else net[name]
    # A net's defaults are those of training, where both have them.
    assert name not in net or name not in ours() or net[name] == ours()[name]
    assert same(default, text), f"{name} is {default}"


def test_the_page_lists_exactly_what_differs_from_the_paper() -> None:
    differ = {name for name, value in PAPER.items() if ours()[name] != value}
    assert {name for cell in DIFFER for name in stated(cell)} == differ
    for cell, row in DIFFER.items():
        for name, (_, text) in stated(row["to do as the paper does"]).items():
            assert name in stated(cell)
            assert same(PAPER[name], text), f"{name} of the paper is {PAPER[name]}"


def test_the_page_has_what_this_looks_for() -> None:
    assert len(DIFFER) >= 8
    assert len(CELLS) > 25


@pytest.mark.parametrize("page", ["docs/train/training.md", "docs/understand/pipeline.md"])
def test_nobody_says_that_all_defaults_are_the_papers(page: str) -> None:
    text = Path(ROOT / page).read_text(encoding="utf-8")
    assert "choices.md#where-the-defaults-differ-from-the-paper" in text
    assert not re.search(r"defaults\s+are\s+the\s+paper's", text)
