"""Code and commands in README and docs work."""

import shlex
from pathlib import Path

import pytest
import tyro

from evaluate_ltvs import EvaluateSettings
from export_onnx import ExportSettings
from make_bundle import BundleSettings
from predict_ltvs import PredictSettings
from prepare_ltvs import PrepareSettings
from ship_networks import ShipSettings
from support.pages import ROOT, blocks
from train_ltvs import TrainSettings

SETTINGS = {
    "prepare_ltvs.py": PrepareSettings,
    "train_ltvs.py": TrainSettings,
    "predict_ltvs.py": PredictSettings,
    "evaluate_ltvs.py": EvaluateSettings,
    "export_onnx.py": ExportSettings,
    "make_bundle.py": BundleSettings,
    "ship_networks.py": ShipSettings,
}


def commands() -> list:
    """Return every line in the pages that runs one of our scripts."""
    lines = [line for block in blocks("sh") for line in block.values[0].replace("\\\n", " ").splitlines()]
    return sorted({line.strip() for line in lines if line.startswith("python examples/")})


@pytest.mark.usefixtures("unchecked")  # as for users; and symbolic sizes, while a net is exported, are no ints
@pytest.mark.parametrize("text", blocks("python"))
def test_python_blocks_run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the files that they write
    if "dynamic_network_architectures" in text:
        pytest.importorskip(
            "dynamic_network_architectures", reason="nnU-Net's nets are not installed: pip install '.[nnunet]'"
        )
    exec(compile(text, "documentation", "exec"), {})


@pytest.mark.parametrize("line", commands())
def test_commands_are_understood(line: str) -> None:
    _, script, *arguments = shlex.split(line, comments=True)
    name = Path(script).name
    assert (ROOT / script).is_file()
    parsed = tyro.cli(SETTINGS[name], args=arguments)
    assert isinstance(parsed, SETTINGS[name])


def test_the_pages_have_what_this_looks_for() -> None:
    assert len(blocks("python")) >= 4
    assert {Path(shlex.split(line)[1]).name for line in commands()} == set(SETTINGS)
