"""The loop over all cases in one process: what is kept, made again, added, refused, and on record."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ltvs.prediction.record import RECORDS, Record
from ltvs.prediction.sharing import LOST, Loop
from ltvs.runtime.errors import InputError
from ltvs.runtime.locks import locked
from support.stand_in_labeler import WithoutNetworks, contents, job, outcomes, write_cts


def run(given, device: str = "cpu") -> dict[str, str]:
    """Settle all cases; return the reason of each that has one."""
    told: list[tuple] = []
    is_done = Loop(given, device, lambda *what: told.append(what)).run()
    assert is_done
    return {name: reason for what, name, *more in told if what == "settled" for reason in more[1:] if reason}


def test_every_case_has_its_files_and_its_outcome(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="", b="bad", c="none", d="fine")
    said = run(job(tmp_path / "in", tmp_path / "out"))
    assert outcomes(tmp_path / "out") == {"a": "labeled", "b": "failed", "c": "no liver", "d": "labeled"}
    assert said == {"b": "is bad", "c": "finds no liver"}
    assert sorted(contents(tmp_path / "out")) == [
        f"{name}{ending}" for name in "ad" for ending in (".measurements.csv", ".measurements.json", ".nii.gz", ".png")
    ]
    assert [path.name for path in (tmp_path / "out" / RECORDS / "a").iterdir()] == ["record.json"]


def test_the_same_command_again_keeps_what_is_made_and_tries_the_others_again(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="", b="bad", c="none")
    run(job(tmp_path / "in", tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.*")}
    write_cts(tmp_path / "in", b="good")
    run(job(tmp_path / "in", tmp_path / "out"))
    assert outcomes(tmp_path / "out") == {"a": "kept from before", "b": "labeled", "c": "no liver"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    made = Record.read(tmp_path / "out" / RECORDS / "a").made
    assert made is not None
    assert (made.numbers["liver"], made.doubts) == (1500.0, ("Look at it.",))


def test_one_command_tries_a_failure_once(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="bad")
    given = job(tmp_path / "in", tmp_path / "out")
    run(given)
    write_cts(tmp_path / "in", a="good")
    run(given)
    assert outcomes(tmp_path / "out") == {"a": "failed"}


def test_more_files_are_added_to_labels_that_are_there(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="")
    run(job(tmp_path / "in", tmp_path / "out"))
    before = contents(tmp_path / "out")
    said = run(job(tmp_path / "in", tmp_path / "out", html=True))
    assert contents(tmp_path / "out") == before | {"a.html": b".html of a"}
    assert said == {"a": "added a.html"}
    assert outcomes(tmp_path / "out") == {"a": "kept from before"}
    assert run(job(tmp_path / "in", tmp_path / "out", html=True)) == {}
    (tmp_path / "out" / "a.liver.stl").write_text("somebody's work")
    said = run(job(tmp_path / "in", tmp_path / "out", meshes="stl"))
    assert said == {"a": "a.liver.stl exists already; give another --output, or --overwrite to replace them"}
    assert (tmp_path / "out" / "a.liver.stl").read_text() == "somebody's work"


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [("a.png", "kept from before", {"a": "added a.png"}), ("a.nii.gz", "labeled", {})],
    ids=["picture", "labels"],
)
def test_a_file_that_is_missing_is_made_again(tmp_path: Path, name: str, outcome: str, reason: dict[str, str]) -> None:
    write_cts(tmp_path / "in", a="")
    run(job(tmp_path / "in", tmp_path / "out", html=True))
    before = contents(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "a.html").unlink()
    # Nobody asks for the page now: the labels, if they are there, need not be made for it.
    assert run(job(tmp_path / "in", tmp_path / "out")) == reason
    assert outcomes(tmp_path / "out") == {"a": outcome}
    run(job(tmp_path / "in", tmp_path / "out", html=True))
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("place", ["file", "below"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    write_cts(tmp_path / "in", a="")
    (tmp_path / "file").touch()
    output = tmp_path / "file" if place == "file" else tmp_path / "file" / "out"
    with pytest.raises(InputError, match=r"file/.*a: cannot be written \(Not a directory\)"):
        run(job(tmp_path / "in", output))


@pytest.mark.parametrize(
    ("change", "networks", "options", "why"),
    [
        ("another", "n", {}, "made from another input"),
        ("longer", "n", {}, "made from another input"),
        ("", "m", {}, "labeled by other networks"),
        ("", "n", {"tta": True}, "labeled with other options (--tta)"),
    ],
)
def test_files_made_otherwise_are_replaced_only_if_asked(
    tmp_path: Path, change: str, networks: str, options: dict, why: str
) -> None:
    write_cts(tmp_path / "in", a="earlier")
    run(job(tmp_path / "in", tmp_path / "out", html=True))
    before = contents(tmp_path / "out")
    write_cts(tmp_path / "in", a={"another": "changed", "longer": "not as long", "": "earlier"}[change])
    said = run(job(tmp_path / "in", tmp_path / "out", networks=networks, **options))
    assert said == {"a": f"{why}; give another --output, or --overwrite to replace them"}
    assert contents(tmp_path / "out") == before
    assert run(job(tmp_path / "in", tmp_path / "out", networks=networks, overwrite=True, **options)) == {}
    after = contents(tmp_path / "out")
    assert "a.html" not in after, "nothing of the earlier labels is left"
    assert (after["a.nii.gz"] != before["a.nii.gz"]) == bool(change)
    run(job(tmp_path / "in", tmp_path / "out", networks=networks, **options))
    assert outcomes(tmp_path / "out") == {"a": "kept from before"}


def test_labels_of_what_passed_the_checks_hold_with_force(tmp_path: Path) -> None:
    """The row of a CT that failed them says that --force takes it; the others need not be labeled again."""
    write_cts(tmp_path / "in", a="", b="bad")
    run(job(tmp_path / "in", tmp_path / "out"))
    write_cts(tmp_path / "in", b="good")
    assert run(job(tmp_path / "in", tmp_path / "out", force=True)) == {}
    assert outcomes(tmp_path / "out") == {"a": "kept from before", "b": "labeled"}
    said = run(job(tmp_path / "in", tmp_path / "out"))
    assert said == {"b": "labeled with other options (--force); give another --output, or --overwrite to replace them"}


def test_what_somebody_changed_or_put_there_is_kept(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="", b="")
    given = job(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_text("somebody's work")
    run(given)
    (tmp_path / "out" / "a.nii.gz").write_text("corrected")
    said = run(job(tmp_path / "in", tmp_path / "out"))
    assert {name: reason.partition(";")[0] for name, reason in said.items()} == {
        "a": "a.nii.gz was changed since",
        "b": "b.png exists already",
    }
    assert (tmp_path / "out" / "a.nii.gz").read_text() == "corrected"
    assert (tmp_path / "out" / "b.png").read_text() == "somebody's work"
    run(job(tmp_path / "in", tmp_path / "out", overwrite=True))
    assert outcomes(tmp_path / "out") == {"a": "labeled", "b": "labeled"}
    assert (tmp_path / "out" / "b.png").read_text() == ".png of b"


def test_labels_of_what_has_no_liver_any_more_are_removed(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="some")
    run(job(tmp_path / "in", tmp_path / "out"))
    write_cts(tmp_path / "in", a="none")
    run(job(tmp_path / "in", tmp_path / "out", overwrite=True))
    assert contents(tmp_path / "out") == {}
    assert outcomes(tmp_path / "out") == {"a": "no liver"}


def test_a_failure_keeps_what_it_would_have_replaced(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="some")
    run(job(tmp_path / "in", tmp_path / "out"))
    before = contents(tmp_path / "out")
    write_cts(tmp_path / "in", a="bad")
    run(job(tmp_path / "in", tmp_path / "out", overwrite=True))
    assert contents(tmp_path / "out") == before
    write_cts(tmp_path / "in", a="some")
    run(job(tmp_path / "in", tmp_path / "out"))
    assert outcomes(tmp_path / "out") == {"a": "kept from before"}


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    said = run(job(tmp_path / "in", tmp_path / "out", overwrite=True))
    assert "a.png: is a folder, expected the name of a file" in said["a"]


def test_a_case_that_was_begun_has_lost_its_process(tmp_path: Path) -> None:
    """In the same command it is a failure; the next command tries it again."""
    write_cts(tmp_path / "in", a="", b="")
    given = job(tmp_path / "in", tmp_path / "out")
    lost = Record("some", "begun", "a")
    (tmp_path / "out" / RECORDS / "a" / ".writing-x").mkdir(parents=True)
    lost.write(tmp_path / "out" / RECORDS / "a")
    again = job(tmp_path / "in", tmp_path / "out")
    assert run(given) == {"a": LOST}
    assert outcomes(tmp_path / "out") == {"a": "failed", "b": "labeled"}
    assert [path.name for path in (tmp_path / "out" / RECORDS / "a").iterdir()] == ["record.json"]
    lost.write(tmp_path / "out" / RECORDS / "a")
    assert run(again) == {}
    assert outcomes(tmp_path / "out") == {"a": "labeled", "b": "labeled"}


def test_a_kill_while_files_are_moved_leaves_them_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cts(tmp_path / "in", a="")
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target == tmp_path / "out" / "a.nii.gz":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(job(tmp_path / "in", tmp_path / "out"))
    assert set(contents(tmp_path / "out")) == {"a.measurements.csv", "a.measurements.json"}
    assert run(job(tmp_path / "in", tmp_path / "out")) == {}
    assert outcomes(tmp_path / "out") == {"a": "labeled"}


def test_a_mistake_costs_its_case_and_the_process(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="mistake", b="")
    given = job(tmp_path / "in", tmp_path / "out")
    assert not Loop(given, "cpu", lambda *_: None).run()
    assert Record.read(tmp_path / "out" / RECORDS / "a").reason.startswith("unexpected ZeroDivisionError: a mistake")
    assert run(given)
    assert outcomes(tmp_path / "out") == {"a": "failed", "b": "labeled"}


def test_a_ct_that_cannot_be_read(tmp_path: Path) -> None:
    (path,) = write_cts(tmp_path / "in", a="")
    given = job(tmp_path / "in", tmp_path / "out")
    path.unlink()
    assert run(given) == {"a": "No such file or directory"}
    assert outcomes(tmp_path / "out") == {"a": "failed"}


def test_it_waits_for_cases_that_others_are_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cts(tmp_path / "in", a="", b="")
    given = job(tmp_path / "in", tmp_path / "out")
    other, pauses, told = locked(given.folder(given.cts[0])), [], []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.__exit__(None, None, None)

    monkeypatch.setattr("ltvs.prediction.sharing.time", SimpleNamespace(sleep=pause, monotonic=lambda: 0.0))
    other.__enter__()
    assert Loop(given, "cpu", lambda *what: told.append(what)).run()
    assert [what[1] for what in told if what[0] == "begun"] == ["b", "a"]
    (waiting,) = {what for what in told if what[0] == "waiting"}
    assert waiting[1] == "a"
    assert "another process is at work here; wait until it is done" in waiting[2]
    assert outcomes(tmp_path / "out") == {"a": "labeled", "b": "labeled"}


def test_networks_that_cannot_be_loaded_stop_the_command(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="", b="")
    with pytest.raises(InputError, match="run: no networks here"):
        run(job(tmp_path / "in", tmp_path / "out", start=WithoutNetworks))


def test_a_record_that_nobody_understands_counts_as_none(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="")
    folder = tmp_path / "out" / RECORDS / "a"
    folder.mkdir(parents=True)
    for text in ("", "[]", '{"format": 99}', '{"format": 1, "made": null}', '{"format": 1, "made": 3, "own": {}}'):
        (folder / "record.json").write_text(text)
        assert Record.read(folder) is None
    run(job(tmp_path / "in", tmp_path / "out"))
    assert outcomes(tmp_path / "out") == {"a": "labeled"}


def test_files_of_labels_that_nobody_knows_any_more_are_told_of(tmp_path: Path) -> None:
    write_cts(tmp_path / "in", a="")
    run(job(tmp_path / "in", tmp_path / "out", html=True))
    (tmp_path / "out" / RECORDS / "a" / "record.json").write_text('{"format": 1')  # cut short
    said = run(job(tmp_path / "in", tmp_path / "out", overwrite=True))
    assert said == {"a": "these files are from earlier labels; remove those that are out of date: a.html"}
    assert outcomes(tmp_path / "out") == {"a": "labeled"}
