"""Any system of Table 1, by the commands: trained, used for prediction, shipped as a bundle, written as ONNX."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.bundle.write import make_bundle
from ltvs.model.networks import OPTIONS
from ltvs.model.pipeline import Pipeline
from ltvs.model.saved import load_stage
from ltvs.model.systems.registry import NETWORKS, Network
from ltvs.runtime.files import read_json
from ltvs.volume.images import read_labels, same_grid, write_volume
from support.tiny_cases import OBLIQUE, tiny_case
from support.trained_runs import QUICK, tiny_set

EXAMPLES = Path(__file__).parents[3] / "examples"


def command(script: str, *words: object, status: int = 0) -> str:
    """Run a command; return what it prints, or for another status than 0 its errors."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr[-2000:]
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def runs(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Network, Path]:
    """Runs that were trained so far, with the stage 1 that finds the tiny liver."""
    folder = tmp_path_factory.mktemp("systems")
    tiny_set(folder / "data")
    made: dict[Network, Path] = {}
    for network in NETWORKS:
        made[network] = folder / network
        made[network].mkdir()
        (made[network] / "stage1").symlink_to(trained_run / "stage1")
    return made


@pytest.fixture
def trained(runs: dict[Network, Path], network: Network) -> Path:
    run = runs[network]
    if not (run / "stage2" / "result.json").is_file():
        flags = []
        for name, value in (QUICK | {"epochs": 1, "learning_rate": 1e-3}).items():
            if name == "channels" and network not in OPTIONS:
                continue
            flags += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else (value,))]
        words = ("--data", run.with_name("data"), "--output", run, "--stage", 2, "--network", network)
        command("train_ltvs.py", *words, *flags)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_system_is_trained_and_labels_a_ct(trained: Path, network: Network, tmp_path: Path) -> None:
    network_settings = read_json(trained / "stage2" / "settings.json")["prediction"]["network"]
    assert network_settings["network"] == network
    assert ("channels" in network_settings) == (network in OPTIONS)
    ct, output = tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"
    write_volume(tiny_case("b", direction=OBLIQUE[2]).ct, ct)
    words = ("--input", ct, "--run", trained, "--output", output, "--smallest-liver", 1, "--device", "cpu")
    command("predict_ltvs.py", *words, "--precision", "32")
    labels = read_labels(output)
    assert same_grid(labels, sitk.ReadImage(str(ct)))
    assert {0} < set(np.unique(sitk.GetArrayViewFromImage(labels)).tolist()) <= {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_system_as_a_bundle(trained: Path, network: Network, tmp_path: Path) -> None:
    make_bundle(trained, tmp_path / "bundle", "A. Author", "(c)")
    config = json.loads((tmp_path / "bundle" / "configs" / "inference.json").read_text())
    named = "crossattn3d." if network in OPTIONS else "ltvs.model.systems.registry.make_system"
    assert config["network_def"]["_target_"].startswith(named)
    ct = tmp_path / "ct.nii.gz"
    write_volume(tiny_case("b").ct, ct)
    words = ["--config_file", "configs/inference.json", "--input", ct, "--output", tmp_path / "theirs.nii.gz"]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *map(str, words), "--device", "cpu", "--smallest_liver", "1"],
        cwd=tmp_path / "bundle", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ours = Pipeline(load_stage(trained, 1), load_stage(trained, 2), "cpu", smallest_liver=1.0).label(
        sitk.ReadImage(str(ct), sitk.sitkInt16)
    )
    theirs = read_labels(tmp_path / "theirs.nii.gz")
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (ours, theirs)))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_system_as_onnx(trained: Path, network: Network, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    path = tmp_path / "net.onnx"
    shown = command("export_onnx.py", "--run", trained, "--output", path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    stage = load_stage(trained, 2)
    x = torch.randn(3, 1, *stage.patch, generator=torch.Generator().manual_seed(1))
    (found,) = session.run(["logits"], {"image": x.numpy()})
    with torch.inference_mode():
        expected, exact = stage.net(x), stage.net.double()(x.double())
    # Both round float32; a few units in the last place where PyTorch happens to be lucky.
    allowed = 2 * (expected - exact).abs().max() + 16 * torch.finfo(torch.float32).eps * exact.abs().max()
    assert (torch.from_numpy(found) - exact).abs().max() <= allowed
    assert ("it takes no other size" in shown) == (network not in ("unet2d", "unet3d", "ucanet"))
