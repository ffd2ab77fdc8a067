"""The pages of troubleshooting have every message of the sources, and no message that the sources do not have."""

from pathlib import Path

import pytest

from support.messages import (
    SOURCES,
    pattern,
    raised,
    rows,
    rows_for,
    shown,
    texts,
)

#: What other programs print: torchvision, and tyro, from which the commands take their options.
FOREIGN = ("operator torchvision::nms does not exist", "unrecognized options: …", "invalid choice … for argument …")
#: Messages that a row may cover: a row for many more would explain none of them.
MOST = 12


def test_messages_and_rows_are_found() -> None:
    assert sum(len(raised(path)) for path in SOURCES) > 480
    assert len(rows()) > 350
    assert len(shown()) > 10


def test_every_message_has_a_row() -> None:
    missing = [str(one) for path in SOURCES for one in raised(path) if not rows_for(one.text)]
    assert not missing, "\n".join(["no page in docs/troubleshooting has a row for:", *missing])


def test_the_sources_have_the_message_of_every_row() -> None:
    known = [one.text for path in SOURCES for one in texts(path)]
    unknown = [
        str(row)
        for row in (*rows(), *shown())
        if not row.text.endswith(FOREIGN) and not any(pattern(row.text).search(text) for text in known)
    ]
    assert not unknown, "\n".join(["no source has the message of these rows:", *unknown])


def test_a_row_is_about_few_messages() -> None:
    found = {one.text for path in SOURCES for one in raised(path)}
    broad = {row: count for row in rows() if (count := sum(map(bool, map(pattern(row.text).search, found)))) > MOST}
    assert not broad, "\n".join(f"{count} messages: {row}" for row, count in broad.items())


SOURCE = '''
"""A docstring about nothing."""

SHORT = "{}: is cut short"

def f(path, size):
    """Another one."""
    if size:
        raise ValueError(f"{path}: expected {size} slices, " f"got {'none' if size else 1}; copy it " + "again")
    if path:
        raise InputError(SHORT.format(path))
    if not path:
        print("warning: there is no path")
        raise self._failed(f"the loss is {size}")
    raise KeyError(path)
'''


def test_messages_of_a_source_are_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE, encoding="utf-8")
    expected = [
        "…: expected … slices, got …; copy it again",
        "…: is cut short",
        "the loss is …",
        "warning: there is no path",
    ]
    assert sorted(one.text for one in raised(path)) == sorted(expected)
    assert "Another one." not in [one.text for one in texts(path)]


@pytest.mark.parametrize(
    ("fragment", "message", "found"),
    [
        ("expected … slices, got …; copy", "a.nii: expected 3 slices, got none; copy it again", True),
        ("slices, got none", "…: expected … slices, got …; copy it again", False),
        ("(series …)", "a (series 7)", True),
        ("is cut short?", "a: is cut short", False),
    ],
)
def test_values_are_left_out(fragment: str, message: str, found: bool) -> None:
    assert bool(pattern(fragment).search(message)) is found
