"""Freed memory goes back to the system between the maps of a RegionalNet."""

import ctypes
import platform
from pathlib import Path

import pytest

from crossattn3d.regional import memory

#: Blocks that glibc takes from its heap, not from the system: below 128 KiB.
BLOCK, COUNT = 100_000, 2_000


@pytest.fixture(autouse=True)
def looked_for_anew():
    memory._malloc_trim.cache_clear()
    yield
    memory._malloc_trim.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left to do as they do")
def test_freed_blocks_below_one_that_is_used_go_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    *freed, used = blocks
    for block in freed:
        libc.free(block)
    before = resident()
    memory.give_back_memory()
    after = resident()
    assert ctypes.string_at(used, 2) == b"\x01\x01"
    libc.free(used)
    # Blocks that found a place between others that are used leave parts of pages behind.
    assert before - after > 0.5 * BLOCK * COUNT


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_systems_without_it_go_on(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    memory.give_back_memory()


def test_c_libraries_without_it_go_on(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.give_back_memory()


def resident() -> int:
    """Return the bytes of the process that are in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096
