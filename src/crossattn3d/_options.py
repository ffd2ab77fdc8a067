"""One check for every string option."""

from collections.abc import Sequence


def check_option(who: str, name: str, value: object, known: Sequence[object]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{who}: expected {name} to be one of {', '.join(map(repr, known))}; got {value!r}")
