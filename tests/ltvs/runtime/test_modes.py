"""Whatever the package and the pipeline write has the mode that the umask gives, as files of other programs have."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support import all_writers


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a umask")
def test_all_that_is_written_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    """In a process of its own, as the umask is the process's."""
    masks = ("022", "002", "077")
    done = subprocess.run(
        [sys.executable, all_writers.__file__, str(tmp_path), *masks], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    endings = {".npy", ".json", ".gz", ".safetensors", ".csv", ".png", ".txt", ".ckpt", ".pt", ".py", ".md"}
    for mask in masks:
        written = [tmp_path / mask, *(tmp_path / mask).rglob("*")]
        assert {path.suffix for path in written if path.is_file()} >= endings
        assert any("tfevents" in path.name for path in written)
        for path in written:
            usual = (0o777 if path.is_dir() else 0o666) & ~int(mask, 8)
            assert oct(stat.S_IMODE(path.stat().st_mode)) == oct(usual), path.relative_to(tmp_path)
