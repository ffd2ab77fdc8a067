"""Compiles `tiles.cpp` and its headers for this processor, once per user and machine, and loads the result."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from crossattn3d.kernels.cpp.cache import UnavailableError, alone_in, cache_folder, is_own

logger = logging.getLogger("crossattn3d")

SOURCE = Path(__file__).with_name("tiles.cpp")
_HERE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
#: Without its standard library, as from `gcc`, the linker would leave what cannot be loaded.
_WHOLE = ("-Wl,-z,defs",) if sys.platform == "linux" else ()
FLAGS = ("-std=c++17", "-O3", _HERE, "-fPIC", "-shared", "-pthread", "-Wno-psabi", *_WHOLE)
#: Seconds that the compiler may take, and that another process may be waited for; it usually takes 5 to 20.
PATIENCE = 120.0


class Library(NamedTuple):
    """The functions of `tiles.cpp`, loaded.

    Attributes:
        functions: of the compiled code.
        path: where the compiled code is kept.
        was_built: whether it was compiled now.
    """

    functions: ctypes.CDLL
    path: Path
    was_built: bool


@cache
def library() -> ctypes.CDLL | str:
    """Return the functions of `tiles.cpp`, or the reason, in one line, why there are none; tried once per process."""
    try:
        return find_or_build().functions
    except UnavailableError as error:
        logger.warning("crossattn3d: C++ cannot be used (%s); backend 'auto' takes PyTorch, which is slower", error)
        return str(error)


def find_or_build() -> Library:
    """Load the compiled code of an earlier process, or else compile, which is announced.

    Compiled code is kept in `crossattn3d` of the user's cache folder (`XDG_CACHE_HOME`). Its name holds the source, the
    processor, and its own checksum, so that a file that was cut short is compiled again instead of loaded.

    Raises:
        UnavailableError: neither can be done.
    """
    if sys.platform not in ("linux", "darwin"):
        raise UnavailableError(f"it is not built on {sys.platform}")
    try:
        folder, key = cache_folder(), _key()
        if (found := _built(folder, key)) is not None:
            return found
        with alone_in(folder, PATIENCE):
            # Another process may have built it while this one waited.
            return _built(folder, key) or _build(folder, key)
    # RuntimeError: there is no home folder.
    except (OSError, RuntimeError) as error:
        raise UnavailableError(str(error)) from error


def _key() -> str:
    sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]*")))
    parts = (sources, " ".join(FLAGS).encode(), platform.machine().encode(), _processor())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _processor() -> bytes:
    """Return the processor's instruction sets: several machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def _built(folder: Path, key: str) -> Library | None:
    """Return what was compiled before and can be loaded."""
    for path in sorted(folder.glob(f"tiles-{key}-*.so")):
        with suppress(OSError, AttributeError):  # gone by now, or made on a machine with other libraries
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and is_own(found) and path.stem.endswith(_checksum(path)):
                return Library(_load(path), path, was_built=False)
    return None


def _build(folder: Path, key: str) -> Library:
    """Compile with the first compiler that can, and return what it made.

    Raises:
        UnavailableError: none can.
    """
    failures = []
    for compiler in _compilers():
        try:
            return _compile(compiler, folder, key)
        except (UnavailableError, OSError, AttributeError, subprocess.TimeoutExpired) as error:
            failures.append(f"{error}")
    raise UnavailableError("; ".join(failures) or "no C++ compiler (g++ 12 or newer, or clang++) was found")


def _compilers() -> list[str]:
    chosen = os.environ.get("CXX")
    if chosen and shutil.which(chosen) is None:
        logger.warning("CXX: expected a C++ compiler; got %r, which is not found; another is taken: correct it", chosen)
    names = (chosen, "g++", "clang++", "c++")
    return list(dict.fromkeys(found for name in names if name and (found := shutil.which(name))))


def _compile(compiler: str, folder: Path, key: str) -> Library:
    """Compile to a temporary file, and rename it once it is loaded: another process finds all that works or nothing."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as name:
        made = Path(name) / "tiles.so"
        command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
        logger.warning(
            "crossattn3d: compiling C++ for this processor with %s, once per user, which takes 5 to 20 seconds; "
            "python -m crossattn3d.build does it ahead",
            compiler,
        )
        done = subprocess.run(command, capture_output=True, errors="replace", check=False, timeout=PATIENCE)
        if done.returncode or not made.exists():
            lines = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
            reason = " ".join((lines or ["no reason given"])[0].split())[:200]
            raise UnavailableError(f"{compiler} could not compile it ({reason})")
        made.chmod(0o700)
        loaded = _load(made)
        kept = made.replace(folder / f"tiles-{key}-{_checksum(made)}.so")
        return Library(loaded, kept, was_built=True)


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    pointer, count, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    loaded.run_pass.argtypes = [
        pointer, count, pointer, count, pointer, count, pointer, size, size, count, count, pointer
    ]  # fmt: skip
    loaded.run_pass.restype = count
    loaded.convolve.argtypes = [pointer, count, pointer]
    loaded.convolve.restype = count
    loaded.compiler.restype = ctypes.c_char_p
    return loaded
