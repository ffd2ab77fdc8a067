"""Scores of networks on a cohort of labeled CTs, with networks whose answer is known."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import ltvs.model.pipeline
from benchmarks import ROOT
from benchmarks.preparation import prepare_silently
from benchmarks.real_cases import __main__ as command
from benchmarks.real_cases.cohorts import COHORTS, LABELED, msd08_without_livers
from benchmarks.real_cases.scoring import means, reference_masks, score
from benchmarks.real_cases.tables import text
from ltvs.dataset.one_case import compose_labels
from ltvs.model.pipeline import Pipeline
from ltvs.model.shipping import SHIPPED
from ltvs.runtime.errors import InputError
from ltvs.volume.case import Case
from ltvs.volume.images import write_volume
from support.ircadb_layout import write_usual
from support.known_networks import PATCH, PREPARATION, hu_of, known_stages
from support.tiny_cases import array, tiny_case
from support.volume_file_layouts import vessel_and_tumor, write_own, write_task

Run = Callable[..., int]


def painted(name: str = "tiny", change: dict[int, int] | None = None) -> Case:
    """The tiny case with HU that the known networks tell apart; `change` gives one label the HU of another."""
    case = tiny_case(name)
    labels = array(compose_labels(case))
    for label, other in (change or {}).items():
        labels[labels == label] = other
    ct = sitk.GetImageFromArray(hu_of(labels))
    ct.CopyInformation(case.ct)
    return Case(name, ct, case.liver, case.vessel, case.tumor)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command, with known networks."""
    stages = known_stages(PREPARATION, PATCH)
    monkeypatch.setattr(ltvs.model.pipeline, "load_stage", lambda run, stage: stages[stage])

    def measure(*words: str | Path) -> int:
        fixed = ("--run", tmp_path, "--device", "cpu", "--smallest-liver", "1")
        monkeypatch.setattr(sys, "argv", ["real_cases", *map(str, (*words, *fixed))])
        return command.main()

    return measure


def test_a_cohort_of_ones_own(measured: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cohort, output = tmp_path / "cohort", tmp_path / "scores.json"
    write_own(cohort / "good", painted("good"))
    write_own(cohort / "no tumor found", painted("b", {3: 1}))
    write_own(cohort / "no liver", painted("c", {1: 0, 2: 0, 3: 0}))
    shutil.copytree(cohort / "good", cohort / "damaged")
    (cohort / "damaged" / "liver.nii").unlink()
    assert measured("--source", "ltvs", "--input", cohort, "--json", output) == 1
    report = json.loads(output.read_text())
    assert list(report["failed"]) == ["damaged"]
    assert "expected liver" in report["failed"]["damaged"]

    good, missed, empty = (report["cases"][name] for name in ("good", "no tumor found", "no liver"))
    assert all(value > 0.7 for value in good["dice"].values())
    assert good["lesions"] == {"reference": 1, "found": 1, "predicted": 1, "confirmed": 1}
    assert 0 <= good["false_tumor_ml"] < 0.1
    assert good["seconds"] > 0
    assert good["peak_bytes"] is None or good["peak_bytes"] > 50e6
    assert (missed["dice"]["tumor"], missed["lesions"]["found"]) == (0, 0)
    assert empty["dice"] == {"liver": 0, "tumor": 0, "vessel": 0}
    assert [case["liver_found"] for case in (good, missed, empty)] == [True, True, False]

    average = report["means"]
    assert average["dice_liver"]["n"] == 3
    assert average["dice_liver"]["mean"] == pytest.approx(np.mean([x["dice"]["liver"] for x in (good, missed, empty)]))
    counts = {"reference": 3, "found": 1, "predicted": 1, "confirmed": 1}
    assert average["lesions"] == {**counts, "precision": 1, "recall": pytest.approx(1 / 3)}
    shown = capsys.readouterr().out
    assert text(report) in shown
    assert "No liver was found in no liver." in shown
    assert "Not scored: damaged: " in shown
    assert "1 of 3 found, 1 of 1 confirmed" in shown
    rows = [line.split(" | ")[0] for line in shown.splitlines()[2:6]]
    assert rows == ["| good", "| no liver", "| no tumor found", "| mean"]


def test_task08_has_no_livers_to_score(measured: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_task(tmp_path / "Task08_HepaticVessel", {"hepaticvessel_001": vessel_and_tumor(tiny_case())})
    write_volume(painted().ct, folder / "imagesTr" / "hepaticvessel_001.nii.gz")
    assert measured("--source", "msd08", "--input", folder, "--json", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["cases"]["msd08-001"]
    assert list(scores["dice"]) == ["tumor", "vessel"]
    # The vessel of the tiny case goes on outside the liver, where no network looks.
    assert scores["dice"]["tumor"] > 0.7
    assert scores["dice"]["vessel"] > 0.5
    assert "liver Dice" not in capsys.readouterr().out
    case = msd08_without_livers(tmp_path)["msd08-001"].load()
    masks = reference_masks(case, LABELED["msd08"])
    np.testing.assert_array_equal(masks["vessel"], array(case.vessel) > 0)


def test_the_test_cases_of_a_prepared_set(measured: Run, tmp_path: Path) -> None:
    for k, name in enumerate("abc"):
        case = painted(name)
        write_own(tmp_path / "cohort" / name, Case(name, case.ct + k, case.liver, case.vessel, case.tumor))
    data = tmp_path / "data"
    with pytest.raises(InputError, match="no prepared data set here"):
        COHORTS["prepared"](data)
    prepare_silently(source="ltvs", input=tmp_path / "cohort", output=data, pixels=16, validation=1, test=1)
    [name] = json.loads((data / "split.json").read_text())["test"]
    assert measured("--source", "prepared", "--input", data, "--json", tmp_path / "scores.json") == 0
    cases = json.loads((tmp_path / "scores.json").read_text())["cases"]
    assert list(cases) == [name]
    assert all(value > 0.7 for value in cases[name]["dice"].values())
    parts = json.loads((data / "split.json").read_text())
    (data / "split.json").write_text(json.dumps(parts | {"test": []}))
    with pytest.raises(InputError, match="the split has no test cases; prepare it again with --test"):
        COHORTS["prepared"](data)


def test_what_is_asked_for_is_scored(measured: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        write_own(tmp_path / "cohort" / name, painted(name))
    words = ("--source", "ltvs", "--input", tmp_path / "cohort", "--only", "b", "--structures", "liver")
    assert measured(*words, "--json", tmp_path / "scores.json") == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert list(report["cases"]) == ["b"]
    assert list(report["cases"]["b"]["dice"]) == ["liver"]
    assert "false_tumor_ml" not in report["cases"]["b"]
    assert "| case | liver Dice | seconds | memory, GiB |" in capsys.readouterr().out


def test_stage_2_is_scored_in_the_labeled_liver(measured: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_own(tmp_path / "cohort" / "good", painted("good"))
    bare = painted("none")
    write_own(tmp_path / "cohort" / "none", Case("none", bare.ct, bare.liver * 0, bare.vessel, bare.tumor * 0))
    words = ("--source", "ltvs", "--input", tmp_path / "cohort", "--json", tmp_path / "scores.json")
    assert measured(*words, "--true-liver") == 1
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["cases"]["good"]["dice"]["liver"] == 1
    assert report["cases"]["good"]["dice"]["tumor"] > 0.7
    assert report["failed"] == {"none": "no liver is labeled that stage 2 could be given"}
    assert "Stage 2 was given the labeled liver." in capsys.readouterr().out


def test_references_are_composed_as_for_training() -> None:
    """Tumors over vessels over liver, vessels inside it."""
    case = tiny_case()
    labels, masks = array(compose_labels(case)), reference_masks(case, LABELED["ltvs"])
    assert ((array(case.vessel) > 0) & (array(case.liver) == 0)).any(), "else there is nothing to clip"
    for name, expected in (("liver", labels > 0), ("tumor", labels == 3), ("vessel", labels == 2)):
        np.testing.assert_array_equal(masks[name], expected)
    unlabeled = Case("a", case.ct, case.liver, None, case.tumor)
    assert set(reference_masks(unlabeled, LABELED["ltvs"])) == {"liver", "tumor"}


def test_a_ct_that_is_not_in_hu() -> None:
    """Its scores would be those of the file, not of the networks."""
    case = painted()
    stored = Case(case.name, sitk.Cast(case.ct + 1024, sitk.sitkInt16), case.liver, case.vessel, case.tumor)
    stages = known_stages(PREPARATION, PATCH)
    with pytest.raises(InputError, match=r"^tiny: expected HU, got a CT of \d+ to \d+, air and fat are below 0 HU"):
        score(stored, Pipeline(stages[1], stages[2], "cpu", 1.0), ["liver"])


def test_cases_without_tumors_count_where_one_is_found() -> None:
    lesions = {"reference": 0, "found": 0, "predicted": 0, "confirmed": 0}
    case = {"dice": {"tumor": None}, "false_tumor_ml": 0.0, "lesions": lesions, "seconds": 1.0, "peak_bytes": None}
    alarm = {**case, "dice": {"tumor": 0.0}, "false_tumor_ml": 3.0, "lesions": {**lesions, "predicted": 2}}
    average = means({"a": case, "b": alarm})
    assert average["dice_tumor"] == {"mean": 0, "n": 1}
    assert average["false_tumor_ml"] == {"mean": 1.5, "n": 2}
    assert average["peak_bytes"] == {"mean": None, "n": 0}
    assert (average["lesions"]["precision"], average["lesions"]["recall"]) == (0, None)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "c"), "--only: expected names of cases (a, ...); got c"),
        (("--device", "banana"), "--device: expected cpu, cuda, cuda:1 or mps; got 'banana'"),
        (
            ("--true-liver", "--structures", "tumor"),
            "--true-liver: expected livers that are labeled and scored; got tu",
        ),
    ],
)
def test_what_cannot_be_is_said(words: tuple, message: str, tmp_path: Path, capsys, monkeypatch) -> None:
    write_own(tmp_path / "cohort" / "a", painted("a"))
    first = ["real_cases", "--source", "ltvs", "--input", str(tmp_path / "cohort"), "--run", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*first, "--device", "cpu", *words])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert message in capsys.readouterr().err


def test_nothing_to_score() -> None:
    report = {"structures": ["liver"], "cases": {}, "failed": {"a": "is damaged"}, "means": means({})}
    assert text(report) == "No case was scored.\nNot scored: a: is damaged\n"
    with pytest.raises(InputError, match="expected Task08_HepaticVessel"):
        COHORTS["msd08"](Path("nowhere"))


def test_a_patient_of_ircadb(measured: Run, tmp_path: Path) -> None:
    write_usual(tmp_path / "3Dircadb1" / "3Dircadb1.1")
    output = tmp_path / "scores.json"
    assert measured("--source", "ircadb", "--input", tmp_path / "3Dircadb1", "--json", output) == 0
    assert list(json.loads(output.read_text())["cases"]) == ["ircadb-01"]


@pytest.mark.slow
def test_the_real_case(tmp_path: Path) -> None:
    folder = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not folder:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    if not (SHIPPED / "stage1").exists():
        pytest.skip("the networks of the examples are not there")
    output = tmp_path / "scores.json"
    words = ["--source", "ircadb", "--input", f"{folder}/3Dircadb1.17.zip", "--json", str(output), "--device", "cpu"]
    # A process of its own: the peak is that of the whole process, whatever other tests have left in this one.
    subprocess.run([sys.executable, "-m", "benchmarks.real_cases", *words], cwd=ROOT, check=True)
    scores = json.loads(output.read_text())["cases"]["ircadb-17"]
    assert scores["liver_found"]
    assert scores["dice"]["liver"] > 0.5
    assert scores["peak_bytes"] < 2 * 2**30
