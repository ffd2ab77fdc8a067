"""Both demos' own work: they make room without touching what is not theirs, and say which command failed."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

import demo
import demo_train
from demo_steps import GRIDS, MARK, command, in_parallel, remove_old_results
from ltvs.evaluation.scores import MEASURES
from ltvs.model.shipping import SHIPPED
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import read_json
from prepare_ltvs import PrepareSettings


def test_a_second_demo_starts_over_but_keeps_its_phantoms(tmp_path: Path) -> None:
    remove_old_results(tmp_path / "demo", "demo_train.py")
    for name in ("data", "run", "report", "mine"):
        (tmp_path / "demo" / name).mkdir()
    remove_old_results(tmp_path / "demo", "demo.py")
    assert read_json(tmp_path / "demo" / MARK) == {"made_by": "examples/demo.py"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"data", "mine", MARK}


def test_folders_that_no_demo_made_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "years of work").touch()
    with pytest.raises(InputError, match="holds data, not made by a demo; give another --output"):
        remove_old_results(tmp_path, "demo.py")
    assert (tmp_path / "data" / "years of work").exists()


def test_a_command_that_fails_ends_the_demo(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(InputError, match=r"examples/evaluate_ltvs.py ended with 2, see above"):
        command("evaluate_ltvs.py", "--prediction", tmp_path / "a b", "--reference x --output", tmp_path)
    shown = capfd.readouterr()
    assert f"$ python examples/evaluate_ltvs.py --prediction '{tmp_path}/a b' --reference x" in shown.out
    assert "does not exist" in shown.err


def prepared(words: str) -> PrepareSettings:
    return tyro.cli(PrepareSettings, args=shlex.split(words))


def test_the_demos_hold_out_the_same_phantoms() -> None:
    short, long = (prepared(f"{words} {GRIDS}") for words in (demo.PHANTOMS, demo_train.PATIENTS))
    assert len(demo.NAMES) >= 4
    assert sorted(short.cases()) == list(demo.NAMES)
    assert set(demo_train.VALIDATION).isdisjoint(demo.NAMES)
    assert sorted(long.cases()) == sorted((*demo.NAMES, *demo_train.VALIDATION))
    assert short.recipe() == long.recipe(), "prepared alike"


@pytest.mark.slow
def test_the_short_demo(tmp_path: Path) -> None:
    if not (SHIPPED / "stage1").exists():
        pytest.skip("the networks of the examples are not there")
    words = [sys.executable, demo.__file__, "--output", str(tmp_path / "demo")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"networks: {SHIPPED.name}, trained on synthetic patients alone" in done.stdout
    summary = json.loads((tmp_path / "demo" / "report" / "summary.json").read_text())
    assert set(summary) == {*MEASURES, "lesions"}
    for name, measures in MEASURES.items():
        assert set(summary[name]) == {*measures, "n", "missed"}
    assert {path.stem for path in (tmp_path / "demo" / "predictions").glob("*.html")} == set(demo.NAMES)
    assert {path.stem for path in (tmp_path / "demo" / "report").glob("*.png")} == set(demo.NAMES)


def test_two_commands_run_in_parallel(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    # Each waits for a file of the other's, so that neither could end on its own.
    log = tmp_path / "first.log"
    meet = tmp_path / "meet.py"
    meet.write_text(
        "import pathlib, sys, time\n"
        "mine, other = map(pathlib.Path, sys.argv[1:])\n"
        "mine.touch()\n"
        "while not other.exists(): time.sleep(0.05)\n"
        "print('met')\n"
    )
    a, b = tmp_path / "a", tmp_path / "b"
    in_parallel([(str(meet), a, b), (str(meet), b, a)], log)
    assert log.read_text() == "met\n"
    assert capfd.readouterr().out.endswith("met\n")


@pytest.mark.parametrize("failing", [0, 1])
def test_either_failing_ends_both(tmp_path: Path, failing: int) -> None:
    endless, failed, pid = tmp_path / "endless.py", tmp_path / "failed.py", tmp_path / "pid"
    endless.write_text(
        "import os, pathlib, sys, time\n"
        "new = pathlib.Path(sys.argv[1] + '.new')\n"
        "new.write_text(str(os.getpid()))\n"
        "new.rename(sys.argv[1])\n"  # so that it is never seen empty
        "while True: time.sleep(1)\n"
    )
    failed.write_text("import pathlib, sys\nwhile not pathlib.Path(sys.argv[1]).exists(): pass\nraise SystemExit(3)")
    commands: list[tuple[str | Path, ...]] = [(str(endless), pid), (str(endless), pid)]
    commands[failing] = (str(failed), pid)
    expected = "failed.py failed, see above" if failing else "failed.py failed; .*first.log says why"
    with pytest.raises(InputError, match=expected):
        in_parallel(commands, tmp_path / "first.log")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_log_of_an_earlier_demo_is_removed(tmp_path: Path) -> None:
    remove_old_results(tmp_path, "demo.py")
    (tmp_path / "stage1.log").touch()
    remove_old_results(tmp_path, "demo.py")
    assert not (tmp_path / "stage1.log").exists()
