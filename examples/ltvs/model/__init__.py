"""The networks, what they see, and the pipeline of both stages that labels a CT. May import `volume` and `runtime`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltvs.model.pipeline import Pipeline

__all__ = ["Pipeline"]


def __getattr__(name: str) -> Any:
    """Import the pipeline when it is asked for: it needs SimpleITK, which networks on arrays do not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ltvs.model.pipeline import Pipeline

    return Pipeline
