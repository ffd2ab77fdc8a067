"""Other tiles of the Triton kernels than those of `tuning.py`, timed on a GPU: the last part of gpu_check.py."""

import itertools
from collections.abc import Callable
from typing import Any
from unittest import mock

from crossattn3d.kernels.triton import launch, tuning
from crossattn3d.kernels.triton.tuning import Tiles

#: What is tried: voxels, warps, tiles in flight; and programs per multiprocessor with today's tiles.
TILES = [Tiles(*sizes) for sizes in itertools.product((32, 64, 128), (4, 8), (2, 3))]
PROGRAMS = (4, 8, 16, 32)
#: The pass whose time each table of `tuning` decides.
PASSES = {"MOMENTS": "reduce", "MIX_ONE": "apply", "MIX_MORE": "apply_backward"}


def timings(channels: int, table: str, call: Callable[[], Any], milliseconds: Callable[[Any], float]) -> dict[str, Any]:
    """Return the milliseconds of a pass with each of the tiles, or why they did not run; and with today's.

    Args:
        channels: of the maps, which decide the entry of the table.
        table: a name in `PASSES`.
        call: makes the pass.
        milliseconds: times a call.
    """
    block = min(tuning.BLOCK, max(16, 1 << (channels - 1).bit_length()))
    found: dict[str, Any] = {"today": milliseconds(call)}
    for programs in PROGRAMS:
        with mock.patch.object(launch, "PROGRAMS", programs):
            found[f"{programs} programs"] = _or_error(milliseconds, call)
    for tiles in TILES:
        with mock.patch.dict(getattr(tuning, table), {block: tiles}):
            found[f"{tiles.voxels} voxels, {tiles.warps} warps, {tiles.stages} stages"] = _or_error(milliseconds, call)
    times = {name: time for name, time in found.items() if isinstance(time, float)}
    return found | {"best": min(times, key=lambda name: times[name])}


def _or_error(milliseconds: Callable[[Any], float], call: Callable[[], Any]) -> float | str:
    """Tiles that do not fit into a multiprocessor, for example, are no reason to stop."""
    try:
        return milliseconds(call)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
