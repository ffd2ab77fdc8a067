"""The demo's own work: it makes room without touching what is not its own, and says which command failed."""

from pathlib import Path

import pytest

import demo
from demo import MARK, _command, _make_room
from ltvs.errors import InputError


def test_a_second_demo_starts_over_but_keeps_its_phantoms(tmp_path: Path) -> None:
    _make_room(tmp_path / "demo")
    for name in ("data", "run", "report", "mine"):
        (tmp_path / "demo" / name).mkdir()
    _make_room(tmp_path / "demo")
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"data", "mine", MARK}


def test_folders_that_no_demo_made_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "years of work").touch()
    with pytest.raises(InputError, match="holds data, not made by a demo; give another --output"):
        _make_room(tmp_path)
    assert (tmp_path / "data" / "years of work").exists()


def test_a_command_that_fails_ends_the_demo(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(InputError, match=r"examples/evaluate_ltvs.py ended with 2, see above"):
        _command("evaluate_ltvs.py", "--prediction", tmp_path / "a b", "--reference x --output", tmp_path)
    shown = capfd.readouterr()
    assert f"$ python examples/evaluate_ltvs.py --prediction '{tmp_path}/a b' --reference x" in shown.out
    assert "does not exist" in shown.err


def test_at_least_four_phantoms_are_held_out() -> None:
    words = demo.PHANTOMS.split()
    assert int(words[words.index("--test") + 1]) >= 4
