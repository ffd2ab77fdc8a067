"""Checks of the options of attentions and nets."""

from collections.abc import Sequence

from torch import Tensor, nn

from crossattn3d.kernels.parameters import BACKENDS, SCORE_NORMS, Attention

#: Earlier names of backends.
RENAMED = {"factorised": "torch", "native": "cpp"}


def check_option(who: str, name: str, value: object, known: Sequence[object]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{who}: expected {name} to be one of {', '.join(map(repr, known))}; got {value!r}")


def check_flag(who: str, name: str, value: object) -> None:
    """Raise ValueError unless `value` is True or False: any text counts as true, also "False"."""
    if not isinstance(value, bool):
        raise ValueError(f"{who}: expected {name} to be True or False; got {value!r}")


def check_options(who: str, attention: Attention) -> None:
    """Raise ValueError, naming `who`, unless each option is a known one."""
    check_option(who, "score_norm", attention.score_norm, SCORE_NORMS)
    check_flag(who, "residual", attention.residual)
    for old, new in RENAMED.items():
        if attention.backend == old:
            raise ValueError(f"{who}: expected a backend by its present name; got {old!r}; use backend={new!r}")
    check_option(who, "backend", attention.backend, BACKENDS)
    if not isinstance(attention.slice_dim, int) or attention.slice_dim not in (-3, -2, -1, 2, 3, 4):
        raise ValueError(
            f"{who}: expected slice_dim to be a spatial dimension, the int -3, -2 or -1 (or 2, 3, 4); got "
            f"{attention.slice_dim!r}"
        )


def check_temperature(who: str, attention: Attention, temperature: Tensor | None) -> None:
    """Raise ValueError, naming `who`, unless there is a temperature where one is needed."""
    if attention.score_norm == "cosine" and temperature is None:
        raise ValueError(
            f"{who}: expected a temperature for score_norm='cosine'; got None; give a scalar tensor, or make the "
            "module with score_norm='cosine'"
        )


def check_unchanged(module: nn.Module, name: str, value: object) -> None:
    """Raise ValueError if what a module was made with is set to another value, which its layers would not follow."""
    who, made_with = type(module).__name__, module.__dict__.get(name, value)
    # 1 is equal to True, but is refused where True is expected.
    if made_with != value or isinstance(made_with, bool) != isinstance(value, bool):
        raise ValueError(
            f"{who}: expected {name} to stay {made_with!r}, which the layers were made for; got {value!r}; make a new "
            f"{who} with it"
        )
