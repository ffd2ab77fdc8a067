"""Optional dependencies, imported where they are needed, with an error that says how to install them."""

from importlib import import_module
from typing import Any


def how_to_install(extra: str) -> str:
    """Return the remedy where a library of the `extra` is missing; the package is not on PyPI."""
    return f'run pip install ".[{extra}]" in a clone of crossattn3d'


def extra_module(who: str, name: str, extra: str) -> Any:
    """Import the module `name` on behalf of `who`.

    Raises:
        ImportError: it is not installed; the message names the `extra` to install.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{who}: needs {name} ({error}); {how_to_install(extra)}") from error
