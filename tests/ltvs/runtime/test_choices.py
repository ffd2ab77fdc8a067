"""A word that names no choice is refused."""

from dataclasses import dataclass
from typing import Literal

import pytest

from ltvs.runtime.choices import check_choice, check_choices
from ltvs.runtime.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Settings with choices, and some without."""

    kind: Literal["thin", "thick"] = "thin"
    stage: Literal[1, 2] = 2
    parts: tuple[Literal["rim", "core", "halo"], ...] = ()
    smooth_rim: bool = False
    spacing: float = 1.5
    name: str | None = None


@pytest.mark.parametrize("value", ["thick", "thin"])
def test_a_choice_passes(value: str) -> None:
    check_choice("--kind", value, ("thin", "thick"))


@pytest.mark.parametrize("value", ["Thick", "", "thic", None, 1, ["thick"]])
def test_all_else_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^--kind: expected thin, thick; got .*; give one of these$"):
        check_choice("--kind", value, ("thin", "thick"))


def test_settings_pass() -> None:
    check_choices(Settings())
    check_choices(Settings("thick", 1, ("halo", "rim"), True, 2.5, "any"))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"kind": "wide"}, True, "--kind: expected thin, thick; got 'wide'"),
        ({"kind": "wide"}, False, "^kind: expected thin, thick; got 'wide'"),
        ({"stage": 3}, True, "--stage: expected 1, 2; got 3"),
        ({"stage": "1"}, True, "--stage: expected 1, 2; got '1'"),
        ({"stage": True}, True, "--stage: expected 1, 2; got True"),
        ({"parts": ("rim", "calcium")}, True, "--parts: expected rim, core, halo; got 'calcium'"),
        ({"smooth_rim": "false"}, True, "--smooth-rim: expected True, False; got 'false'"),
        ({"smooth_rim": 1}, False, "smooth_rim: expected True, False; got 1"),
    ],
)
def test_settings_without_a_choice_are_refused(changes: dict, options: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_choices(Settings(**changes), options)
