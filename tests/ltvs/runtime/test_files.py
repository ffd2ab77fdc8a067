"""Atomic writing and JSON: the old file or the new one, never a part."""

from pathlib import Path

import pytest

from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, read_json, write_json


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
