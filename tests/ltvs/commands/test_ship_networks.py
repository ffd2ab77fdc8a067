"""The command line of shipping."""

import sys
from pathlib import Path

import pytest

from ltvs.runtime.command_line import run
from ship_networks import ShipSettings, main


def test_networks_of_a_run(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    words = ["ship_networks.py", "--run", str(trained_run), "--output", str(tmp_path / "networks")]
    monkeypatch.setattr(sys, "argv", words)
    run(main, ShipSettings)
    assert f"networks: {tmp_path / 'networks'} (0.0 MB)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run(main, ShipSettings)
    assert "exists already; give another --output, or --overwrite" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--overwrite"])
    run(main, ShipSettings)
