"""Memory that runs out, as one line that says which setting to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ltvs.runtime.errors import InputError
from ltvs.training.settings import TrainSettings


@contextmanager
def memory_errors(settings: TrainSettings) -> Iterator[None]:
    """Turn an allocation that fails into a line of advice.

    Raises:
        InputError: memory ran out, on a GPU or in the machine.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        plain = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if plain and "allocate memory" not in text and "not enough memory" not in text:
            raise
        reason = f"--device {settings.device}: out of memory ({text[:120]})"
        raise InputError(f"{reason}; {memory_advice(settings)}") from error


def memory_advice(settings: TrainSettings) -> str:
    """What to change, what costs nothing but time first.

    Example:
        >>> from pathlib import Path
        >>> memory_advice(TrainSettings(Path("data"), Path("run"), batch_size=4, device="cpu"))
        'try --accumulate 2 (the same batch in parts), --use-checkpoint, --precision bf16-mixed, or a smaller --patch'
    """
    share = settings.batch_size // (settings.devices * settings.nodes)
    parts = next((k for k in range(settings.accumulate + 1, share + 1) if share % k == 0), None)
    ways = []
    if parts:
        ways.append(f"--accumulate {parts} (the same batch in parts)")
    if not settings.use_checkpoint:
        ways.append("--use-checkpoint")
    if settings.precision == "32":
        ways.append("--precision bf16-mixed")
    return f"try {', '.join([*ways, ''])}{'or ' if ways else ''}a smaller --patch"
