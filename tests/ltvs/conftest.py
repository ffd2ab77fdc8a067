"""Fixtures shared by tests of several steps of the pipeline."""

import pickle
from pathlib import Path

import pytest

from ltvs.phantom.cohort import make_phantom
from ltvs.volume.case import Case
from support.shared_folders import shared_folder

#: Seeds of the shared phantoms.
SEEDS = (1, 2, 3)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Three phantoms of 128 x 128 pixels and slices 3 mm apart."""

    def write(folder: Path) -> None:
        made = [make_phantom(seed, matrix=128, slice_spacing=3.0) for seed in SEEDS]
        (folder / "cases").write_bytes(pickle.dumps(made))

    return pickle.loads((shared_folder(tmp_path_factory, "phantoms", write) / "cases").read_bytes())
