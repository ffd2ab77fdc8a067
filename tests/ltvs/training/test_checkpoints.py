"""Checkpoints: the newest is whole or the one before is there; nothing in a file is executed."""

import hashlib
import io
import os
import pickle
import warnings
from pathlib import Path

import pytest
import torch

from ltvs.runtime.errors import InputError
from ltvs.training.checkpoints import DamagedCheckpointWarning, has_checkpoint, load_checkpoint, save_checkpoint


def state(number: int) -> dict:
    return {"net": {"weight": torch.full((2, 3), float(number))}, "epoch": number, "history": [{"dice": [0.5]}, None]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three were written."""
    for number in (1, 2, 3):
        save_checkpoint(state(number), tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_what_is_loaded_is_what_was_saved_last(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"]
    with warnings.catch_warnings(action="error"):
        loaded = load_checkpoint(folder)
    assert loaded is not None
    assert torch.equal(loaded.pop("net")["weight"], torch.full((2, 3), 3.0))
    assert loaded == {"epoch": 3, "history": [{"dice": [0.5]}, None]}


def test_there_may_be_none(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path) is None


def test_between_the_two_renames_the_one_before_is_all_there_is(folder: Path) -> None:
    (folder / "last.ckpt").replace(folder / "previous.ckpt")
    assert has_checkpoint(folder)
    with warnings.catch_warnings(action="error"):
        loaded = load_checkpoint(folder)
    assert loaded is not None
    assert loaded["epoch"] == 3


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "in the checksum"])
def test_a_damaged_newest_falls_back_to_the_one_before(folder: Path, damage: str) -> None:
    path = folder / "last.ckpt"
    content = bytearray(path.read_bytes())
    if damage == "torn":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        content[300 if damage == "flipped" else 5] ^= 1
    path.write_bytes(content)
    with pytest.warns(DamagedCheckpointWarning, match=r"last\.ckpt: is torn or damaged .*resuming from previous\.ckpt"):
        loaded = load_checkpoint(folder)
    assert loaded is not None
    assert loaded["epoch"] == 2
    (folder / "previous.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.ckpt: is torn.*previous\.ckpt: is torn.*remove .* to begin again"):
        load_checkpoint(folder)


def sealed(payload: bytes) -> bytes:
    """With a checksum that fits, as somebody who means harm would make it."""
    return hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class Harm:
    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["HARM"],)


@pytest.mark.parametrize("make", [pickle.dumps, torch_file], ids=["pickle", "torch"])
def test_a_file_that_would_execute_something_does_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make
) -> None:
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    (folder / "previous.ckpt").unlink()
    (folder / "last.ckpt").write_bytes(sealed(make({"epoch": Harm()})))
    with pytest.raises(InputError, match=r"last\.ckpt: is not a checkpoint of train_ltvs\.py"):
        load_checkpoint(folder)
    assert not (tmp_path / "harm").exists()


def test_another_file_of_torch(folder: Path) -> None:
    (folder / "previous.ckpt").unlink()
    (folder / "last.ckpt").write_bytes(sealed(torch_file([1, 2])))
    with pytest.raises(InputError, match=r"is not a checkpoint of train_ltvs\.py \(holds a list\)"):
        load_checkpoint(folder)


def test_what_reads_back_differently_does_not_take_the_place_of_a_good_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path)[:-1])
    with pytest.raises(InputError, match=r"last\.ckpt: is torn or damaged"):
        save_checkpoint(state(4), folder)
    monkeypatch.undo()
    loaded = load_checkpoint(folder)
    assert loaded is not None
    assert loaded["epoch"] == 3
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"last\.ckpt: cannot be written \(.*\)"):
        save_checkpoint(state(1), tmp_path / "file" / "checkpoints")


def test_a_checkpoint_that_cannot_be_read(folder: Path) -> None:
    (folder / "previous.ckpt").unlink()
    (folder / "last.ckpt").unlink()
    (folder / "last.ckpt").mkdir()
    with pytest.raises(InputError, match=r"last\.ckpt: cannot be read"):
        load_checkpoint(folder)
