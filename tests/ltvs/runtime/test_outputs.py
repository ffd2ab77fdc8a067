"""Outputs: never an input by whatever name, and nothing that exists unless it is asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ltvs.runtime.errors import InputError
from ltvs.runtime.outputs import (
    check_new_files,
    check_new_folder,
    check_not_around,
    check_outside,
    is_inside,
    replaced_folder,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file, a folder with a file in it, and another folder."""
    (tmp_path / "ct.mha").write_text("a CT")
    for folder in ("series", "else"):
        (tmp_path / folder).mkdir()
    (tmp_path / "series" / "slice 1").write_text("a slice")
    return tmp_path


def link(place: Path, name: str, target: str) -> Path:
    (place / name).symlink_to(place / target)
    return place / name


def hard_link(place: Path, name: str, target: str) -> Path:
    os.link(place / target, place / name)
    return place / name


def through_a_linked_folder(place: Path) -> Path:
    return link(place, "elsewhere", "series") / "new" / "labels.mha"


#: The same file or folder as an input, or one inside it, by other names.
SAME: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "itself": ("ct.mha", lambda place: place / "ct.mha"),
    "through a folder above": ("ct.mha", lambda place: place / "series" / ".." / "ct.mha"),
    "a link": ("ct.mha", lambda place: link(place, "a.mha", "ct.mha")),
    "a link to a link": ("ct.mha", lambda place: link(place, "b.mha", link(place, "a.mha", "ct.mha").name)),
    "a hard link": ("ct.mha", lambda place: hard_link(place, "a.mha", "ct.mha")),
    "a relative path": ("ct.mha", lambda place: Path(os.path.relpath(place / "ct.mha"))),
    "the folder": ("series", lambda place: place / "series"),
    "a link to the folder": ("series", lambda place: link(place, "elsewhere", "series")),
    "a new file in the folder": ("series", lambda place: place / "series" / "labels.mha"),
    "deep in the folder": ("series", lambda place: place / "series" / "a" / "b" / "labels.mha"),
    "in a linked folder": ("series", through_a_linked_folder),
    "a file of the folder": ("series", lambda place: place / "series" / "slice 1"),
    "a link to a file of the folder": ("series", lambda place: link(place, "a.mha", "series/slice 1")),
    "a hard link to a file of the folder": ("series", lambda place: hard_link(place, "a.mha", "series/slice 1")),
    "a link that leads to a new file in it": ("series", lambda place: link(place, "a.mha", "series/new")),
}


@pytest.mark.parametrize("how", SAME)
def test_an_input_by_any_name(place: Path, how: str) -> None:
    name, output = SAME[how]
    with pytest.raises(InputError, match=r"--input.*, which is never written to; give another (--output|folder)$"):
        check_outside(output(place), {"--run": None, "--input": place / name})


def test_an_input_that_is_a_link_to_the_output(place: Path) -> None:
    with pytest.raises(InputError, match=r"ct\.mha: is --input itself, which is never written to"):
        check_outside(place / "ct.mha", {"--input": link(place, "a.mha", "ct.mha")})
    with pytest.raises(
        InputError, match=r"labels\.mha: is inside --input, which is never written to; give another folder"
    ):
        check_outside(place / "series" / "labels.mha", {"--input": link(place, "elsewhere", "series")})


def test_a_file_whose_link_is_in_the_input(place: Path) -> None:
    link(place / "series", "slice 2", "../ct.mha")
    with pytest.raises(InputError, match=r"ct\.mha: is slice 2 of --input, which is never written to; give another"):
        check_outside(place / "ct.mha", {"--input": place / "series"})


def test_letters_of_another_case_where_the_disk_does_not_tell_them_apart(place: Path) -> None:
    if not (place / "CT.MHA").exists():
        pytest.skip("this disk tells them apart")
    with pytest.raises(InputError, match="is --input itself"):
        check_outside(place / "CT.MHA", {"--input": place / "ct.mha"})


def test_other_places_are_free(place: Path) -> None:
    inputs = {"--input": place / "series", "--reference": place / "ct.mha", "--run": place / "missing"}
    for name in ("else", "else/labels.mha", "series 2/labels.mha", "ct.mha.png", "new"):
        check_outside(place / name, inputs)
    hard_link(place, "else/other", "ct.mha")
    check_outside(place / "else" / "other", {"--input": place / "series"})


def test_inputs_inside(place: Path) -> None:
    with pytest.raises(InputError, match=r"elsewhere: --input is inside, which is never written to; give another"):
        check_not_around(link(place, "elsewhere", "series"), {"--input": place / "series" / "slice 1"})
    check_not_around(place / "else", {"--input": place / "series", "--run": None})
    assert is_inside(place / "series", place)
    assert not is_inside(place, place / "series")


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_exist(place: Path, overwrite: bool) -> None:
    """Links that lead nowhere, too: what is renamed takes their place."""
    for path in (place / "ct.mha", link(place, "a.mha", "ct.mha"), link(place, "b.mha", "nowhere")):
        if overwrite:
            check_new_files([path], overwrite=True)
            continue
        with pytest.raises(InputError, match=r"a: exists already; give another --output, or --overwrite to replace it"):
            check_new_files([place / "new.png", path], overwrite=False)
    with pytest.raises(InputError, match="else: is a folder, expected the name of a file; give another --output"):
        check_new_files([place / "else"], overwrite=overwrite)
    check_new_files([place / "new" / "new" / "labels.mha"], overwrite=overwrite)


def test_folders_that_cannot_be_written_to(place: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.mha: cannot be written, .*ct\.mha is not a folder; give another"):
        check_new_files([place / "ct.mha" / "new" / "labels.mha"], overwrite=True)
    with pytest.raises(InputError, match=r"cannot be written, .*lost is not a folder"):
        check_new_files([link(place, "lost", "nowhere") / "labels.mha"], overwrite=True)


def test_folders_that_must_not_be_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the system's answer is made up."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != place / "else")
    with pytest.raises(InputError, match=r"labels\.mha: cannot be written, .*else is not for you to write to; give an"):
        check_new_files([place / "else" / "new" / "labels.mha"], overwrite=True)
    check_new_files([place / "labels.mha"], overwrite=False)


def new_folder(output: Path, overwrite: bool) -> None:
    check_new_folder(output, overwrite=overwrite, what="slices", is_own=lambda path: path.name == "slice 1")


def test_folders_that_exist(place: Path) -> None:
    new_folder(place / "new", False)
    with pytest.raises(InputError, match=r"series: exists already; .*, or --overwrite to replace it"):
        new_folder(place / "series", False)
    new_folder(place / "series", True)
    (place / "series" / "deep").mkdir()
    link(place / "series" / "deep", "mine", "else")
    with pytest.raises(InputError, match=r"a folder of slices to replace, got series/deep/mine in it; give another"):
        new_folder(place / "series", True)
    for path in (place / "ct.mha", link(place, "a link", "else"), link(place, "lost", "nowhere")):
        with pytest.raises(InputError, match="to replace, got a file or a link; give another --output"):
            new_folder(path, True)


def test_a_folder_is_replaced_whole_or_not_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(place.rglob("*"))
    rename = Path.replace

    def write(error: Exception | None = None) -> None:
        with replaced_folder(place / "series") as folder:
            folder.mkdir()
            (folder / "new").touch()
            if error is not None:
                raise error

    with pytest.raises(RuntimeError, match="ends early"):
        write(RuntimeError("ends early"))

    def fails(self: Path, target: Path) -> Path:
        # After the old folder was moved away, before the new one is in its place.
        if target == place / "series" and (self / "new").exists():
            assert not target.exists()
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(InputError, match=r"series: cannot be written \(Input/output error\)"):
            write()
    assert sorted(place.rglob("*")) == before, "what was there stays"
    write()
    assert [path.name for path in (place / "series").iterdir()] == ["new"]
    assert sorted(path.name for path in place.iterdir()) == ["ct.mha", "else", "series"]
