"""Modules that the networks do without: imported where they are needed, with an error that says how to get them."""

from importlib import import_module
from typing import Any


def extra_module(who: str, name: str, extra: str) -> Any:
    """The module `name`, which `who` needs.

    Raises:
        ImportError: it is not installed; `extra` is what to install.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{who}: needs {name} ({error}); pip install "crossattn3d[{extra}]"') from error
