"""A folder with small versions of everything that the documentation names: cohorts, data sets, runs, studies, files."""

import json
import shutil
from pathlib import Path

from benchmarks.accuracy.run import run as run_study
from benchmarks.table1.budgets import COMMON_RATE, Run
from benchmarks.table1.page import RESULT, typical_phantom
from benchmarks.table1.testing import prediction_file
from ltvs.bundle.write import make_bundle
from ltvs.dataset.one_case import compose_labels
from ltvs.runtime.files import read_json
from ltvs.volume.images import write_volume
from support import crlm_layout, ircadb_layout
from support.bundle_schema import mandatory
from support.documented_commands import documented, values_of
from support.pages import ROOT
from support.study_cases import CPU, TINY, write_cases
from support.tiny_cases import tiny_case
from support.trained_runs import train_both_stages_on_tiny_set
from support.volume_file_layouts import liver_and_tumor, vessel_and_tumor, whole_organ, write_own, write_task


def make_world(root: Path, maps: Path) -> None:
    """Fill a folder; `maps` are those of a synthetic patient."""
    _write_cohorts(root)
    _write_cts(root)
    trained = root / "trained"
    trained.mkdir()
    train_both_stages_on_tiny_set(trained)
    data, run = trained / "data", trained / "run"
    shutil.copy(data / "split.json", data / "fold1.json")
    for name in values_of("--data") | values_of("--input", "--source prepared"):
        shutil.copytree(data, root / name)
        shutil.copytree(maps, root / name / "maps" / "0000")
    for name in values_of("--run") | values_of("--liver-from") | values_of("--init"):
        shutil.copytree(run, root / name)
    for folder in {"bundle", *(line.removeprefix("cd ") for line in _lines_before() if line.startswith("cd "))}:
        make_bundle(run, root / folder, "not stated", "not stated")
        shutil.copy(root / "ct.nii.gz", root / folder)
        (root / folder / "schema.json").write_text(json.dumps(mandatory()))
    _write_studies(root)
    for name in values_of("--study"):
        _write_table_1(root / name, data)
    _write_nnunet(root)


def put_repository(place: Path) -> None:
    """Copy what commands write of the repository into a folder, and link what they read."""
    shutil.copy(ROOT / "README.md", place)
    for name in ("docs", "benchmarks"):
        shutil.copytree(ROOT / name, place / name)
    for name in ("src", "tests", "pyproject.toml", "conftest.py"):
        (place / name).symlink_to(ROOT / name)


def put_examples(place: Path) -> None:
    """Link the examples into a folder; what it has of them, such as networks, stays."""
    (place / "examples").mkdir(exist_ok=True)
    for path in (ROOT / "examples").iterdir():
        if not (place / "examples" / path.name).exists():
            (place / "examples" / path.name).symlink_to(path)


def _lines_before() -> set[str]:
    return {line for command in documented() for line in command.before}


def _write_cohorts(root: Path) -> None:
    case = tiny_case()
    for k in (1, 2):
        ircadb_layout.write_usual(root / "3Dircadb1" / f"3Dircadb1.{k}", f"case {k}")
    ircadb_layout.zipped(ircadb_layout.write_usual(root / "3Dircadb1.17"), "3Dircadb1.17/")
    write_task(root / "Task08_HepaticVessel", {"hepaticvessel_001": vessel_and_tumor(case)})
    write_volume(whole_organ(case), root / "liver_annotation" / "hepaticvessel_001.nii.gz")
    write_task(root / "Task03_Liver", {"liver_0": liver_and_tumor(case)})
    for k in (0, *range(28, 49)):
        write_volume(tiny_case(f"lits {k}").ct, root / "LiTS17" / f"volume-{k}.nii")
        write_volume(liver_and_tumor(case), root / "LiTS17" / f"segmentation-{k}.nii")
    crlm_layout.write_patient(root)
    for name in ("a", "b"):
        write_own(root / "cohort" / name, tiny_case(name))
    write_volume(compose_labels(case), root / "anatomy" / "lits-001.nii.gz")


def _write_cts(root: Path) -> None:
    case = tiny_case()
    for path in ("ct.nii.gz", "cts/patient.nii.gz"):
        write_volume(case.ct, root / path)
    ircadb_layout.write_series(root / "cts" / "study", case.ct)
    for name in ("labels.nii.gz", "truth.nii.gz"):
        write_volume(compose_labels(case), root / name)


def _write_studies(root: Path) -> None:
    """Write cases and runs of the study of skips."""
    for name in values_of("--cases", "benchmarks.accuracy"):
        write_cases(root / name)
    cases, runs = root / "study" / "cases", root / "study" / "runs"
    write_cases(cases)
    for variant in ("concat", "csca-instance+residual"):
        run_study(cases, runs, variant, 0, "all", TINY, CPU, sizes=(1.0,))
    for name in values_of("--runs", "benchmarks.accuracy"):
        shutil.copytree(runs, root / name)


def _write_table_1(study: Path, data: Path) -> None:
    """Write what the picture of labels shows: a phantom, and the labels that UCA-Net gives it."""
    case, file = typical_phantom(read_json(RESULT)), prediction_file
    shutil.copytree(data, study / "data")
    for kind in ("images", "labels"):
        shutil.copy(data / kind / "a.nii.gz", study / "data" / kind / f"{case}.nii.gz")
    found = file(study / Run("ucanet", 0, COMMON_RATE).name, case)
    found.parent.mkdir(parents=True)
    shutil.copy(data / "labels" / "a.nii.gz", found)


def _write_nnunet(root: Path) -> None:
    """Write what is copied by hand: the split of an exported data set, and the place of nnU-Net's trainers."""
    for exported in values_of("--export-nnunet"):
        (root / exported).mkdir(parents=True)
        (root / exported / "splits_final.json").write_text("[]")
        (root / "nnUNet_preprocessed" / Path(exported).name).mkdir(parents=True)
    package = root / "nnunetv2"
    (package / "training" / "nnUNetTrainer").mkdir(parents=True)
    (package / "__init__.py").touch()
