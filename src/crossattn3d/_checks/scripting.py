"""What torch.jit.script is told, which cannot compile this package: its types have names and rules of their own."""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _reason(who: str) -> str:
    return (
        f"{who}: expected to be traced; got torch.jit.script, which knows neither Literal nor NamedTuple options; use "
        "torch.jit.trace with example inputs, torch.export or torch.compile"
    )


class NotScriptable:
    """Base of modules that `torch.jit.script` refuses with a reason, alone or as a part of other modules."""

    def __prepare_scriptable__(self) -> NoReturn:
        raise ValueError(_reason(type(self).__name__))


def not_scriptable(function: F) -> F:
    """Make `torch.jit.script` refuse a function with a reason."""
    setattr(function, "__script_unsupported", _reason(function.__name__))
    return function
