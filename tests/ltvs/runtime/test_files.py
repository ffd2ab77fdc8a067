"""Atomic writing and JSON: the old file or the new one, never a part, on file systems that lack a lot, too."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, flush, map_array, read_json, write_json


def test_json_round_trip_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "ä.json"
    write_json(path, {"dice": [0.5, None]})
    assert read_json(path) == {"dice": [0.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["ä.json"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"scores\.json: cannot be written"):
        write_json(tmp_path / "file" / "scores.json", {})


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("{", "is not valid JSON")])
def test_json_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"settings\.json: {message}"):
        read_json(path)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="a umask")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
@pytest.mark.parametrize("written", [0o600, 0o644, 0o777, 0o400])
def test_modes_are_those_of_the_umask_whatever_wrote_the_file(tmp_path: Path, mask: int, written: int) -> None:
    with umask(mask):
        with atomic_path(tmp_path / "new" / "file") as file:
            file.touch()
            file.chmod(written)
        with atomic_path(tmp_path / "folder") as folder:
            (folder / "inner").mkdir(parents=True)
            (folder / "inner" / "file").touch()
            (folder / "inner" / "file").chmod(written)
            (folder / "inner").chmod(0o700)
            folder.chmod(0o755)
    files = [tmp_path / "new" / "file", tmp_path / "folder" / "inner" / "file"]
    folders = [tmp_path / "new", tmp_path / "folder", tmp_path / "folder" / "inner"]
    assert {mode(path) for path in files} == {0o666 & ~mask}
    assert {mode(path) for path in folders} == {0o777 & ~mask}
    assert sorted(tmp_path.rglob("*")) == sorted(files + folders), "nothing else is left"


@pytest.mark.skipif(os.name != "posix", reason="a umask")
def test_what_a_link_leads_to_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "other").touch(0o600)
    with atomic_path(tmp_path / "folder") as folder:
        folder.mkdir()
        (folder / "link").symlink_to(tmp_path / "other")
        (folder / "dangling").symlink_to(tmp_path / "none")
    assert mode(tmp_path / "other") == 0o600


def failing(number: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_without_modes_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_path(tmp_path / "file") as file:
        file.touch()
        file.chmod(0o600)
        monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    assert mode(tmp_path / "file") == 0o600


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_be_asked_to_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    write_json(tmp_path / "a.json", [1])
    flush(tmp_path)
    assert read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_does_not_get_to_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_json(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(InputError, match=rf"a\.json: cannot be written \({os.strerror(number)}\)"):
        write_json(tmp_path / "a.json", "new")
    assert read_json(tmp_path / "a.json") == "old"


def test_a_temporary_folder_that_a_network_disk_keeps_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "rmdir", failing(errno.ENOTEMPTY))
    write_json(tmp_path / "a.json", [1])
    assert read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EINVAL, errno.ENOTSUP])
def test_an_array_is_read_where_files_cannot_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    array = np.arange(2 * 3 * 5, dtype=np.int16).reshape(2, 3, 5)
    np.save(tmp_path / "a.npy", array)
    monkeypatch.setattr(np, "memmap", failing(number))
    found = map_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, array)
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0, 0] = 7
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.npy: is missing or damaged"):
        map_array(tmp_path / "a.npy")


def test_objects_in_an_array_are_refused_where_files_cannot_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    monkeypatch.setattr(np, "memmap", failing(errno.ENODEV))
    with pytest.raises(InputError, match=r"a\.npy: is missing or damaged"):
        map_array(tmp_path / "a.npy")
