"""Zips: nothing gets out of its folder, and nothing stays behind."""

import zipfile
from pathlib import Path, PurePosixPath

import pytest

from ltvs.runtime.errors import InputError
from ltvs.sources.archives import DEEPEST, member_names, unpacked


def everything(path: PurePosixPath) -> bool:
    return True


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a\\..\\..\\evil"])
@pytest.mark.parametrize("depth", ["outer", "inner"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, depth: str) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"a/fine": b"1", name: b"2"})
    path = inner if depth == "inner" else make_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="refused, it would write outside its folder"), unpacked(path, "", everything):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_zips_in_zips_open_into_folders_of_their_own(tmp_path: Path) -> None:
    bare = make_zip(tmp_path / "bare.zip", {"x": b"1"}).read_bytes()
    named = make_zip(tmp_path / "named.zip", {"named/y": b"2"}).read_bytes()
    path = make_zip(tmp_path / "all.zip", {"in/bare.zip": bare, "in/named.zip": named, "z": b"3", "d/": b""})
    with unpacked(path, "", everything) as (folder,):
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files == {"in/bare/x": b"1", "in/named/y": b"2", "z": b"3"}
    assert not folder.exists()


def test_only_what_is_used_and_under_the_root(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "all.zip", {"a/x": b"1", "a/y": b"2", "ab/x": b"3"})
    with unpacked(path, "a", lambda file: file.name == "x") as (folder,):
        assert [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()] == ["a/x"]


def test_a_folder_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    make_zip(tmp_path / "part.zip", {"x": b"old"})
    make_zip(tmp_path / "other.zip", {"y": b"2"})
    with unpacked(tmp_path, "", everything) as (own, temporary):
        assert own == tmp_path
        assert [str(p.relative_to(temporary)) for p in temporary.rglob("*")] == ["other", "other/y"]


def test_what_is_no_zip_or_damaged(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"text\.zip: cannot be read as a zip.*download it again"):
        member_names(tmp_path / "text.zip")
    path = make_zip(tmp_path / "damaged.zip", {"x": b"voxels" * 999})
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with (
        pytest.raises(InputError, match=r"damaged\.zip: cannot be unpacked.*download it again"),
        unpacked(path, "", everything),
    ):
        pass


@pytest.mark.parametrize("folder", ["", "in/"], ids=["outer", "inner"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [(".", "holds a file without a name"), ("long" * 75, "cannot be unpacked .File name too long.")],
    ids=["dot", "long"],
)
def test_names_that_no_disk_takes(tmp_path: Path, folder: str, name: str, reason: str) -> None:
    path = make_zip(tmp_path / "outer.zip", {name: b"1"})
    shown = "outer.zip"
    if folder:
        path = make_zip(tmp_path / "all.zip", {f"{folder}outer.zip": path.read_bytes()})
        shown = "all.zip/in/outer.zip"
    # The temporary folder is not named.
    told = f"{tmp_path}/{shown}: {reason}.*; unpack it, and give the folder"
    with pytest.raises(InputError, match=told), unpacked(path, "", everything):
        pass


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "secret.zip", {"x": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"secret\.zip: has a password; unpack it"), unpacked(path, "", everything):
        pass


@pytest.mark.parametrize("name", ["a.zip", "A.ZIP"])
@pytest.mark.parametrize("depth", [DEEPEST, DEEPEST + 1])
def test_zips_in_zips_end(tmp_path: Path, depth: int, name: str) -> None:
    path = make_zip(tmp_path / "a.zip", {"ct.nii": b"1"})
    for _ in range(depth - 1):
        path = make_zip(tmp_path / "a.zip", {name: path.read_bytes()})
    if depth > DEEPEST:
        with pytest.raises(InputError, match=rf"a\.zip: holds zips in zips, {DEEPEST} deep or more; unpack it"):
            unpacked(path, "", everything).__enter__()
        return
    with unpacked(path, "", everything) as (folder,):
        assert [file.name for file in folder.rglob("*.nii")] == ["ct.nii"]


def test_a_folder_named_as_a_zip(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "outer.zip", {"a.zip/ct.nii": b"1"})
    with unpacked(path, "", everything) as (folder,):
        assert (folder / "a.zip" / "ct.nii").read_bytes() == b"1"
