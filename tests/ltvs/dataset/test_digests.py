"""Digests of files: content and names decide; dates, places and what cannot be read do not."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ltvs.dataset.digests import digest, digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "case ä"
    (folder / "CT" / "deep").mkdir(parents=True)
    (folder / "CT" / "image_1").write_bytes(b"one")
    (folder / "CT" / "deep" / "image_2").write_bytes(b"two")
    (folder / "liver.nii").write_bytes(b"liver")
    return folder


def link(folder: Path) -> None:
    (folder / "CT").rename(folder.parent / "real")
    (folder / "CT").symlink_to(folder.parent / "real")
    (folder.parent / "real" / "back").symlink_to(folder.parent / "real")


@pytest.mark.parametrize(
    "change",
    [
        lambda f: [os.utime(path, (1, 1)) for path in f.rglob("*")],
        lambda f: (shutil.copytree(f, f.with_name("copy")) and shutil.rmtree(f)) or f.with_name("copy").rename(f),
        lambda f: (f / "empty").mkdir(),
        link,
    ],
)
def test_what_does_not_matter(folder: Path, change: Callable[[Path], object]) -> None:
    before = digest(folder)
    assert before is not None
    change(folder)
    assert digest(folder) == before


def test_a_folder_that_was_moved(folder: Path) -> None:
    before = digest(folder)
    assert digest(folder.rename(folder.parent.parent / folder.name)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "CT" / "image_1").write_bytes(b"onE"),
        lambda f: (f / "CT" / "image_1").write_bytes(b"one\0"),
        lambda f: (f / "CT" / "image_1").rename(f / "CT" / "image_3"),
        lambda f: (f / "CT" / "image_1").rename(f / "image_1"),
        lambda f: (f / "CT" / "deep" / "image_2").unlink(),
        lambda f: (f / "new").write_bytes(b""),
        lambda f: (f / "CT" / "image_1").write_bytes(b"two") and (f / "CT" / "deep" / "image_2").write_bytes(b"one"),
    ],
)
def test_what_matters(folder: Path, change: Callable[[Path], object]) -> None:
    before = digest(folder)
    change(folder)
    assert digest(folder) not in (None, before)


def test_a_zip_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image", b"one")
    before = digest(path)
    assert before == digest(path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert digest(path) != before


def test_what_cannot_be_read_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "liver.nii").unlink()
    (folder / "liver.nii").symlink_to("nowhere")
    assert digest(folder) is not None, "a broken link is no file"
    assert digest(folder / "liver.nii") is None
    opened = Path.open

    def refuse(self: Path, *words: str) -> object:
        if self.name == "image_1":
            raise PermissionError(13, "Permission denied")
        return opened(self, *words)

    monkeypatch.setattr(Path, "open", refuse)
    assert digest(folder) is None


def test_each_path_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr("ltvs.dataset.digests.digest", lambda path: read.append(path) or path.name)
    paths = [folder / "CT", folder / "liver.nii", folder / "CT"]
    assert digests(paths, threads=2) == {folder / "CT": "CT", folder / "liver.nii": "liver.nii"}
    assert sorted(read) == sorted(set(paths))
