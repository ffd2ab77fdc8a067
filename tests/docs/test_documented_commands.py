"""Every command of ours in README and docs runs as shown, with options appended that make it small.

Cohorts, data sets, runs and files exist under the names that the pages use; the output of the command does not.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltvs.bundle.write import make_bundle
from ltvs.dataset.one_case import compose_labels
from ltvs.volume.images import write_volume
from support import crlm_layout, ircadb_layout
from support.bundle_schema import mandatory
from support.pages import ROOT, blocks
from support.tiny_cases import tiny_case
from support.trained_runs import train_both_stages_on_tiny_set
from support.volume_file_layouts import liver_and_tumor, vessel_and_tumor, whole_organ, write_own, write_task

SMALL = {
    "prepare_ltvs.py": "--pixels 16 --slice-spacing 3 --liver-pixels 24 "
    "--liver-slice-spacing 1.5 --margin 4 --workers 1",
    "train_ltvs.py": "--epochs 1 --batch-size 2 --patch 8 16 16 --overlap 4 0 0 "
    "--channels 2 3 4 --workers 0 --device cpu",
    "predict_ltvs.py": "--device cpu --smallest-liver 1",
    "evaluate_ltvs.py": "",
    "export_onnx.py": "",
    "make_bundle.py": "",
    "ship_networks.py": "",
    "monai.bundle": "",
}


def small(line: str) -> str:
    """Return the options that make a line small; predictions are of the run that the test has trained."""
    script = script_of(line)
    assert script in SMALL, f"say in SMALL how {script} is run in small"
    options = SMALL[script]
    options += " --smallest-liver 1" if "--liver-from" in line else ""
    options += " --smallest_liver 1" if "monai.bundle run" in line else ""
    options += " --maps 1 --count 3 --validation 1 --matrix 64" if "--maps" in line else ""
    options = options.replace("--channels 2 3 4", "") if "--network vnet" in line else options  # which it has not
    options += " --norm batch" if "--init" in line else ""  # as the run that the test has trained
    return options + (" --run trained/run" if script == "predict_ltvs.py" and "--run" not in line else "")


def script_of(line: str) -> str | None:
    """Return the script that a line runs, ours or MONAI's; None for other tools and for what other tests run."""
    found = re.match(r"python (?:examples/(\w+\.py)|-m (monai\.bundle))", line)
    return (found[1] or found[2]) if found else None


LINES = sorted({
    line.strip()
    for block in blocks("sh")
    for line in block.values[0].replace("\\\n", " ").splitlines()
    if script_of(line.strip())
})  # fmt: skip


def named(option: str) -> set[str]:
    """Return all values that the lines give for an option."""
    words = [shlex.split(line, comments=True) for line in LINES]
    return {line[i + 1] for line in words for i, word in enumerate(line) if word == option}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, coarse_maps: Path) -> Path:
    """A folder with small versions of everything that the pages name."""
    root = tmp_path_factory.mktemp("world")
    case = tiny_case()
    for k in (1, 2):
        ircadb_layout.write_usual(root / "3Dircadb1" / f"3Dircadb1.{k}", f"case {k}")
    write_task(root / "Task08_HepaticVessel", {"hepaticvessel_001": vessel_and_tumor(case)})
    write_volume(whole_organ(case), root / "liver_annotation" / "hepaticvessel_001.nii.gz")
    write_task(root / "Task03_Liver", {"liver_0": liver_and_tumor(case)})
    for k in (0, *range(28, 49)):
        write_volume(tiny_case(f"lits {k}").ct, root / "LiTS17" / f"volume-{k}.nii")
        write_volume(liver_and_tumor(case), root / "LiTS17" / f"segmentation-{k}.nii")
    crlm_layout.write_patient(root)
    for name in ("a", "b"):
        write_own(root / "cohort" / name, tiny_case(name))
    for path in ("ct.nii.gz", "cts/patient.nii.gz"):
        write_volume(case.ct, root / path)
    ircadb_layout.write_series(root / "cts" / "study", case.ct)
    for name in ("labels.nii.gz", "truth.nii.gz"):
        write_volume(compose_labels(case), root / name)

    trained = root / "trained"
    trained.mkdir()
    train_both_stages_on_tiny_set(trained)
    data, run = trained / "data", trained / "run"
    shutil.copy(data / "split.json", data / "fold1.json")
    for name in named("--data"):
        shutil.copytree(data, root / name)
        shutil.copytree(coarse_maps, root / name / "maps" / "0000")
    for name in named("--run") | named("--liver-from") | named("--init"):
        shutil.copytree(run, root / name)
    make_bundle(run, root / "bundle", "not stated", "not stated")
    shutil.copy(root / "ct.nii.gz", root / "bundle")
    (root / "bundle" / "schema.json").write_text(json.dumps(mandatory()))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_it_runs(line: str, world: Path, tmp_path: Path) -> None:
    script = script_of(line)
    place = shutil.copytree(world, tmp_path / "world")
    # What the world has of it, such as networks, stays.
    (place / "examples").mkdir(exist_ok=True)
    for path in (ROOT / "examples").iterdir():
        if not (place / "examples" / path.name).exists():
            (place / "examples" / path.name).symlink_to(path)
    words = shlex.split(line, comments=True)
    # An estimate writes nothing.
    written = "--output" in words and "--estimate" not in words
    output = place / words[words.index("--output") + 1] if written else None
    if output is not None and script != "monai.bundle":
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    command = line.split(" #")[0].replace("python", shlex.quote(sys.executable), 1)
    done = subprocess.run(
        ["bash", "-c", f"{command} {small(line)}"],
        cwd=place / "bundle" if script == "monai.bundle" else place,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    if output is not None and script != "monai.bundle":
        assert output.exists()
