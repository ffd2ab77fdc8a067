"""The command line of prediction into a folder, with a run trained for a few steps."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import predict_ltvs
from ltvs.prediction.record import RECORDS
from ltvs.prediction.sharing import Loop
from ltvs.runtime.command_line import run
from ltvs.volume.images import read_labels, same_grid, write_volume
from predict_ltvs import PredictSettings, main
from support.ircadb_layout import write_series, zipped
from support.processes import slurm_tasks, wait_until, wait_until_all_are_gone
from support.tiny_cases import tiny_case

FILES = (".measurements.csv", ".measurements.json", ".nii.gz", ".png")
#: Several tasks on one machine: sums are rounded alike only with as many threads.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good CT, a damaged one, a study with a localizer, an MR and two series, and a zip."""
    folder = tmp_path_factory.mktemp("cohort")
    write_volume(tiny_case("a").ct, folder / "a.nii.gz")
    (folder / "b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:-900])
    study, scout = folder / "p1" / "study", tiny_case().ct[:, :, :1]
    for number in (2, 3):
        write_series(study, tiny_case(str(number)).ct, file_name=f"s{number}_{{}}", SeriesNumber=number)
    write_series(study, scout, file_name="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(folder / "p1" / "MR", tiny_case().ct, Modality="MR")
    write_series(folder / "p2" / "CT", tiny_case("z").ct)
    zipped(folder / "p2")
    return folder


@pytest.fixture
def place(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the cohort, in which the commands run."""
    shutil.copytree(cohort, tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label in this process, where the libraries are loaded."""

    def share_out(job, devices, hear, *_: int) -> None:
        Loop(job, devices[0], lambda *what: hear(0, *what)).run()

    monkeypatch.setattr("ltvs.prediction.whole.share_out", share_out)


def words(trained_run: Path, *more: str) -> list[str]:
    usual = ["--input", "in", "--run", str(trained_run), "--device", "cpu", "--smallest-liver", "1"]
    return [*usual, *(more if "--output" in more else ("--output", "out", *more))]


def ended(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> int:
    """Run the command and return its status."""
    monkeypatch.setattr(sys, "argv", ["predict_ltvs.py", *given])
    try:
        run(main, PredictSettings)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def rows(output: Path = Path("out")) -> dict[str, dict[str, str]]:
    with (output / "cases.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def results(output: Path) -> dict[str, bytes]:
    """Return all that is written but for times."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.is_file() and path.name != "cases.csv"}


LABELED = ("a", "p1_study_2", "p1_study_3", "p2_CT")


def test_a_cohort(place: Path, trained_run: Path, in_this_process: None, monkeypatch, capsys) -> None:
    inputs = {path: path.read_bytes() for path in Path("in").rglob("*") if path.is_file()}
    assert ended(monkeypatch, words(trained_run)) == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == [
        "skipped (Modality MR): in/p1/MR",
        "skipped (localizer): in/p1/study/scout",
    ]
    assert [line.split()[:2] for line in said.out.splitlines()[3:8]] == [
        ["a", "labeled"], ["b", "failed"], *([name, "labeled"] for name in LABELED[1:])
    ]  # fmt: skip
    assert said.err.startswith("no labels: b: in/b.nii.gz: "), "which is cut short"
    assert said.err.splitlines()[-1] == "error: 1 of 5 CTs have no labels, see above and out/cases.csv"
    assert "Traceback" not in said.err

    expected = {f"{name}{ending}" for name in LABELED for ending in FILES}
    everything = {path.name for path in Path("out").iterdir()}
    assert everything == expected | {"measurements.json", "measurements.csv", "cases.csv", RECORDS}
    assert same_grid(read_labels(Path("out/p2_CT.nii.gz")), tiny_case().ct)
    table = rows()
    assert {name: row["outcome"] for name, row in table.items()} == dict.fromkeys(LABELED, "labeled") | {"b": "failed"}
    assert table["p1_study_3"]["input"] == "in/p1/study (series 3)"
    assert table["p2_CT"]["input"] == "in/p2.zip/CT"
    measured = json.loads(Path("out/measurements.json").read_text())
    assert measured.keys() == set(LABELED)
    assert float(table["a"]["liver_ml"]) == pytest.approx(measured["a"]["liver_ml"], abs=0.05)
    assert {path: path.read_bytes() for path in Path("in").rglob("*") if path.is_file()} == inputs

    before = results(Path("out"))
    write_volume(tiny_case("b").ct, Path("in/b.nii.gz"))
    Path("out/a.png").unlink()
    assert ended(monkeypatch, words(trained_run)) == 0
    assert rows()["a"]["reason"] == "added a.png"
    outcomes = {name: row["outcome"] for name, row in rows().items()}
    assert outcomes == dict.fromkeys(LABELED, "kept from before") | {"b": "labeled"}
    kept = {name for name in before if not name.startswith("measurements")}
    assert {name: content for name, content in results(Path("out")).items() if name in kept} == {
        name: before[name] for name in kept
    }


def test_files_made_otherwise_are_told_of_before_anything_is_computed(
    place: Path, trained_run: Path, in_this_process: None, monkeypatch, capsys
) -> None:
    given = [word if word != "in" else "in/a.nii.gz" for word in words(trained_run)]
    assert ended(monkeypatch, given) == 0
    before = results(Path("out"))
    capsys.readouterr()
    remedy = "give another --output, or --overwrite to replace what is there"
    assert ended(monkeypatch, [*given, "--tta"]) == 2
    assert capsys.readouterr() == ("", f"error: out: a: labeled with other options (--tta); {remedy}\n")
    write_volume(tiny_case().ct[1:, :, :], Path("in/a.nii.gz"))
    assert ended(monkeypatch, given) == 2
    assert capsys.readouterr() == ("", f"error: out: a: made from another input; {remedy}\n")
    assert results(Path("out")) == before
    assert ended(monkeypatch, [*given, "--overwrite"]) == 0
    assert results(Path("out"))["a.nii.gz"] != before["a.nii.gz"]


def test_a_ct_keeps_its_name_whatever_is_given_beside_it(
    place: Path, trained_run: Path, in_this_process: None, monkeypatch
) -> None:
    for name in ("d1", "d2"):
        Path(name).mkdir()
        write_volume(tiny_case(name).ct, Path(name, "ct.nii.gz"))
    given = words(trained_run)[2:]
    assert ended(monkeypatch, ["--input", "d1", *given]) == 0
    before = results(Path("out"))
    assert ended(monkeypatch, ["--input", "d1", "d2", *given]) == 0
    assert {name: row["outcome"] for name, row in rows().items()} == {"ct": "kept from before", "d2_ct": "labeled"}
    assert {name: results(Path("out"))[name] for name in before if name.startswith("ct")} == {
        name: content for name, content in before.items() if name.startswith("ct")
    }
    # Another CT at the same place is another case: it is refused, as it would be under its own name.
    write_volume(tiny_case("other").ct[1:, :, :], Path("d1/ct.nii.gz"))
    assert ended(monkeypatch, ["--input", "d1", "d2", *given]) == 0
    assert rows()["d1_ct"]["outcome"] == "labeled"


def test_a_ct_that_nobody_settled_fails(place: Path, trained_run: Path, monkeypatch, capsys) -> None:
    """As if another command had begun it anew, or its labels were removed, before the table is made."""
    monkeypatch.setattr("ltvs.prediction.whole.share_out", lambda *_: Path("out", RECORDS).mkdir(parents=True))
    assert ended(monkeypatch, [word if word != "in" else "in/a.nii.gz" for word in words(trained_run)]) == 2
    why = "another command is at work on it, or its labels were removed; give the same command again"
    assert f"no labels: a: in/a.nii.gz: {why}\n" in capsys.readouterr().err
    assert (rows()["a"]["outcome"], rows()["a"]["reason"]) == ("failed", why)


@pytest.mark.parametrize("name", ["a.png", "cases.csv", "measurements.json"])
def test_a_folder_with_files_of_others(
    place: Path, trained_run: Path, in_this_process: None, name: str, monkeypatch, capsys
) -> None:
    Path("out").mkdir()
    Path("out", name).write_text("somebody's work")
    assert ended(monkeypatch, words(trained_run)) == 2
    said = capsys.readouterr().err
    assert name in said
    assert "exists already" in said
    assert "--overwrite" in said
    assert said.count("\n") == 1
    assert [path.name for path in Path("out").iterdir()] == [name]


def test_dicom_seg_of_what_is_no_dicom(
    place: Path, trained_run: Path, in_this_process: None, monkeypatch, capsys
) -> None:
    for path in (Path("in/p1"), Path("in/p2.zip")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert ended(monkeypatch, words(trained_run, "--dicom-seg")) == 2
    line = "no labels: a: in/a.nii.gz: is no DICOM series, which --dicom-seg refers to; leave it out"
    assert line in capsys.readouterr().err


def command(trained_run: Path, *more: str) -> list[str]:
    return [str(predict_ltvs.__file__), *words(trained_run, *more)]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(place: Path, trained_run: Path) -> None:
    for output, devices in (("one", "1"), ("two", "2")):
        given = command(trained_run, "--output", output, "--devices", devices)
        done = subprocess.run(
            [sys.executable, *given], env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    assert results(Path("one")) == results(Path("two"))
    assert len(results(Path("one"))) == len(LABELED) * len(FILES) + 2


@pytest.mark.slow
def test_torchrun(place: Path, trained_run: Path) -> None:
    Path("in/b.nii.gz").unlink()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # Without the two dashes, torchrun takes --run for an option of its own.
    given = ["--", *command(trained_run, "--devices", "2")]
    done = subprocess.run([*launcher, *given], env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines() if " labeled" in line or " kept" in line] == [
        [name, "labeled"] for name in LABELED
    ]
    alone = command(trained_run, "--output", "alone")
    subprocess.run([sys.executable, *alone], env=os.environ | ONE_THREAD, capture_output=True, check=True)
    assert results(Path("out")) == results(Path("alone"))


@pytest.mark.slow
def test_slurm(place: Path, trained_run: Path) -> None:
    tasks = slurm_tasks([sys.executable, *command(trained_run, "--nodes", "2")], ONE_THREAD)
    said = [task.communicate() for task in tasks]
    assert [task.returncode for task in tasks] == [2, 0], said
    assert said[1] == ("", ""), "the first one prints"
    assert {name for name, row in rows().items() if row["liver_ml"]} == set(LABELED)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "status", "last"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupted_command_goes_on(place: Path, trained_run: Path, number: int, status: int, last: str) -> None:
    running = subprocess.Popen(
        [sys.executable, *command(trained_run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: Path("out/a.nii.gz").exists() or running.poll() is not None, "the first case is not done")
    running.send_signal(number)
    out, err = running.communicate()
    wait_until_all_are_gone(running.pid)
    assert running.returncode == status, err
    assert err.splitlines()[-1] == last
    assert "of 5 CTs are done; give the same command again to label the others" in out
    assert not list(Path("out").rglob(".writing-*"))
    again = subprocess.run([sys.executable, *command(trained_run)], capture_output=True, text=True, check=False)
    assert again.returncode == 2, again.stderr
    assert rows()["a"]["outcome"] == "kept from before"
    assert {name for name, row in rows().items() if row["liver_ml"]} == set(LABELED)
