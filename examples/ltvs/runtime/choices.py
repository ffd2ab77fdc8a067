"""Checks that a word names one of the choices there are, so that no typing error becomes a default."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ltvs.runtime.errors import InputError


def check_choice(who: str, value: object, known: Sequence[object]) -> None:
    """Raise InputError unless `value` is one of `known`.

    Args:
        who: what the value was given for.
        value: given.
        known: the choices.
    """
    # 1 == True, but is no choice between True and False.
    if not any(type(value) is type(choice) and value == choice for choice in known):
        raise InputError(f"{who}: expected {', '.join(map(str, known))}; got {value!r}; give one of these")


def check_choices(settings: Any, options: bool = True) -> None:
    """Raise InputError unless every field with choices has one of them.

    Fields with choices are a Literal, a tuple of them, or a bool. A command line checks them by itself; a file of
    settings and Python do not.

    Args:
        settings: a dataclass.
        options: whether fields are named as options of a command line are.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        who = f"--{field.name.replace('_', '-')}" if options else field.name
        _check(who, getattr(settings, field.name), hints[field.name])


def _check(who: str, value: Any, hint: Any) -> None:
    if hint is bool:
        check_choice(who, value, (True, False))
    elif get_origin(hint) is Literal:
        check_choice(who, value, get_args(hint))
    elif get_origin(hint) is tuple and isinstance(value, tuple):
        for one in value:
            _check(who, one, get_args(hint)[0])
