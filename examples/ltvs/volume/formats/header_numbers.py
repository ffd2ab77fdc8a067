"""Numbers in the text of a header, as the writer meant them or not at all."""

import re
from pathlib import Path

from ltvs.runtime.errors import InputError

#: No `nan`, no `inf`, and nothing else that `float` takes beyond a decimal number.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

#: Beyond any number that a header holds; below, no sum or product of two overflows.
_LARGEST = 1e30


def numbers_in(path: Path, name: str, words: list[str], count: int) -> tuple[float, ...]:
    """Return the finite numbers in the words of a field.

    Args:
        path: of the file, for messages.
        name: of the field.
        words: one for each number; a decimal comma counts as a point.
        count: of numbers expected.

    Raises:
        InputError: there are more or fewer words, or one is no finite number.
    """
    texts = [word.replace(",", ".") for word in words]
    if len(texts) == count and all(map(_NUMBER.fullmatch, texts)):
        values = tuple(map(float, texts))
        if max(map(abs, values)) < _LARGEST:
            return values
    shown = " ".join(words)
    raise InputError(
        f"{path}: expected {name} of {count} finite numbers, got {shown[:60]!r}; is it damaged? Export it again"
    )


def whole_numbers_in(path: Path, name: str, words: list[str], count: int) -> tuple[int, ...]:
    """Return the whole numbers in the words of a field; arguments and errors are those of `numbers_in`."""
    values = numbers_in(path, name, words, count)
    if not all(value.is_integer() for value in values):
        raise InputError(f"{path}: expected {name} of whole numbers, got {' '.join(words)[:60]!r}; is it damaged?")
    return tuple(map(int, values))
