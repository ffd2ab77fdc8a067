"""A trained run as a MONAI bundle: MONAI's own commands find it right, and it labels as predict_ltvs.py does."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import crossattn3d
from crossattn3d import UNet3d
from ltvs.bundle.write import SCHEMA, make_bundle
from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import save_weights
from ltvs.model.saved import load_unfolded, stage_folder
from ltvs.model.stages import find_hu_offset, liver_region, network_input
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_labels, same_grid, write_volume
from make_bundle import BundleSettings, main
from support.bundle_schema import mandatory
from support.random_parameters import randomize
from support.tiny_cases import OBLIQUE, tiny_case

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to find the tiny liver; what stage 2 finds in it is random, so that there is all of it."""
    data = PreparedSet(trained_run.with_name("data"))
    output = shutil.copytree(trained_run, tmp_path_factory.mktemp("copy") / "run")
    folder = stage_folder(output, 2)
    net, _ = load_unfolded(output, 2)
    save_weights(balanced(randomize(net, 4), data), folder / "best.safetensors")
    return output


def balanced(net: UNet3d, data: PreparedSet) -> UNet3d:
    """Its classes are about as frequent as each other in the liver of the first case, and it is sure of them."""
    case, window = data.case(2, "a"), data.preparation.window
    hu, region = np.asarray(case.image), liver_region(np.asarray(case.labels), 2)
    image = network_input(hu, region, window, find_hu_offset(hu, region, window))
    with torch.no_grad():
        net.head.bias -= net(torch.from_numpy(image)[None, None])[0, :, region].mean(dim=1)
        # Tumors that stage 2 is nowhere sure of are dropped.
        net.head.weight *= 20
        net.head.bias *= 20
    return net


@pytest.fixture(scope="module")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "tiny"
    make_bundle(trained, output, "A. Author", "Copyright (c) A. Author")
    return output


def monai(folder: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """`python -m monai.bundle`, in a folder; the package is installed, the examples are not to be found."""
    source = str(Path(crossattn3d.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_it_labels_as_predict_ltvs_does(trained: Path, bundle: Path, tmp_path: Path) -> None:
    ct = tmp_path / "ct.nii.gz"
    write_volume(tiny_case(direction=OBLIQUE[2]).ct, ct)
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "a bundle")
    words = ("--input", ct, "--output", tmp_path / "theirs.nii.gz", "--device", "cpu", "--smallest_liver", "1")
    done = monai(moved, "run", "--config_file", "configs/inference.json", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"labels: {tmp_path / 'theirs.nii.gz'}" in done.stdout

    words = (
        "--input",
        ct,
        "--run",
        trained,
        "--output",
        tmp_path / "ours.nii.gz",
        "--device",
        "cpu",
        "--smallest-liver",
        "1",
    )
    subprocess.run([sys.executable, ROOT / "examples" / "predict_ltvs.py", *words], check=True, capture_output=True)
    ours, theirs = (read_labels(tmp_path / f"{name}.nii.gz") for name in ("ours", "theirs"))
    assert same_grid(ours, theirs)
    values = sitk.GetArrayFromImage(ours)
    assert set(np.unique(values)) == {0, 1, 2, 3}, "else there is little to compare"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), values)

    outside = monai(tmp_path, "run", "--config_file", f"{moved}/configs/inference.json", "--bundle_root", moved,
                    "--input", ct, "--output", "from outside.nii.gz", "--device", "cpu",
                    "--smallest_liver", "1")  # fmt: skip
    assert outside.returncode == 0, outside.stderr[-3000:]
    assert (tmp_path / "from outside.nii.gz").read_bytes() == (tmp_path / "theirs.nii.gz").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["network_def", "liver_network_def"])
def test_monai_verifies_the_network(bundle: Path, network: str) -> None:
    files = ("--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json")
    done = monai(bundle, "verify_net_in_out", "--net_id", network, *files, "--device", "cpu", "--n", "2")
    if network == "network_def":
        assert done.returncode == 0, done.stderr[-3000:]
        assert "verified with no error" in done.stdout + done.stderr
    else:
        # The metadata is of the other network: the command can fail.
        assert "output channel number `2` doesn't match: `3`" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_monai_verifies_the_metadata(bundle: Path, tmp_path: Path, damaged: bool) -> None:
    metadata, schema = json.loads((bundle / "configs" / "metadata.json").read_text()), tmp_path / "schema.json"
    assert metadata["schema"] == SCHEMA
    if damaged:
        del metadata["network_data_format"]["outputs"]["pred"]["num_channels"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    schema.write_text(json.dumps(mandatory()))  # there already, so that MONAI does not go and fetch it
    done = monai(bundle, "verify_metadata", "--meta_file", tmp_path / "metadata.json", "--filepath", schema)
    if damaged:
        assert "'num_channels' is a required property" in done.stderr
    else:
        assert done.returncode == 0, done.stderr[-3000:]
        assert "metadata is verified with no error" in done.stdout + done.stderr


def test_what_is_in_it(trained: Path, bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert {"configs/metadata.json", "configs/inference.json", "docs/README.md"} <= files
    assert {"models/model.pt", "models/liver.pt", "ltvs/__init__.py"} <= files
    assert {"ltvs/bundle/entry_points.py", "ltvs/model/pipeline.py"} <= files
    folders = {path.name for path in (bundle / "ltvs").iterdir() if path.is_dir()}
    assert folders == {"bundle", "model", "runtime", "volume"}, "what labels a CT, and no more"
    assert "ltvs/bundle/write.py" not in files
    for stage, name in ((1, "liver.pt"), (2, "model.pt")):
        weights = torch.load(bundle / "models" / name, weights_only=True)
        expected = load_unfolded(trained, stage)[0].state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert (metadata["authors"], metadata["copyright"]) == ("A. Author", "Copyright (c) A. Author")
    assert metadata["required_packages_version"]["SimpleITK"] == importlib.metadata.version("SimpleITK")


def test_what_cannot_be_is_said(trained: Path, bundle: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    with pytest.raises(InputError, match="tiny: exists already; give another --output, or --overwrite to replace it"):
        make_bundle(trained, bundle, "", "")
    words = ["make_bundle.py", "--run", str(tmp_path), "--output", str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="2"):
        run(main, BundleSettings)
    assert "no trained stage 1 here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing half-made is left"
