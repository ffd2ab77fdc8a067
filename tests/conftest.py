"""Shared test setup: run-time shape checks, hypothesis profiles, threads, a synthetic patient, a trained run."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import config, install_import_hook

# Checks every annotated shape of the package; only modules imported from here on are checked.
if "crossattn3d" in sys.modules:
    raise RuntimeError("tests: expected to import crossattn3d after this hook; something imported it before")
install_import_hook("crossattn3d", "beartype.beartype")

import torch  # noqa: E402

from crossattn3d.kernels.cpp.build import library  # noqa: E402

hypothesis.settings.register_profile("quick", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick"))

# Compiled before the tests: the one that needs it first would else see the line that announces it.
library()

# Background jobs of a shell ignore SIGINT, and the processes that tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On tensors this small, threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the run-time shape checks off, so that bad input reaches the package as it does for users."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def coarse_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maps of patient 3, on voxels so large that painting takes a second."""
    from ltvs.phantom.maps import paint_maps
    from support.shared_folders import shared_folder

    return shared_folder(tmp_path_factory, "coarse maps", lambda folder: paint_maps(3, folder, 8.0, 5.0))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose stage 1 finds the tiny liver and whose stage 2 was trained for one epoch; its data lie beside it."""
    from support.shared_folders import shared_folder
    from support.trained_runs import train_both_stages_on_tiny_set

    return shared_folder(tmp_path_factory, "trained run", train_both_stages_on_tiny_set) / "run"
