"""What tests of several steps of the pipeline share."""

from pathlib import Path

import pytest

from support.shared_folders import shared_folder


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose stage 1 has learned to find the tiny liver, and whose stage 2 was trained for one epoch."""
    from support.trained_runs import train_both_stages_on_tiny_set

    return shared_folder(tmp_path_factory, "trained run", train_both_stages_on_tiny_set) / "run"
