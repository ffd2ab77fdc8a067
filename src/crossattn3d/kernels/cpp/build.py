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
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

logger = logging.getLogger("crossattn3d")

SOURCE = Path(__file__).with_name("tiles.cpp")
_HERE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
#: Without its standard library, as from `gcc`, the linker would leave what cannot be loaded.
_WHOLE = ("-Wl,-z,defs",) if sys.platform == "linux" else ()
FLAGS = ("-std=c++17", "-O3", _HERE, "-fPIC", "-shared", "-pthread", "-Wno-psabi", *_WHOLE)
#: Seconds that the compiler may take; it usually takes two or three.
PATIENCE = 120


class UnavailableError(Exception):
    """The reason, in one line, why C++ cannot be used here."""


@cache
def library() -> ctypes.CDLL | str:
    """Return the functions of `tiles.cpp`, or the reason, in one line, why there are none; tried once per process.

    Compiled code is kept in `crossattn3d` of the user's cache folder (`XDG_CACHE_HOME`). Its name holds the source, the
    processor, and its own checksum, so that a file that was cut short is compiled again instead of loaded.
    """
    try:
        if sys.platform not in ("linux", "darwin"):
            raise UnavailableError(f"it is not built on {sys.platform}")
        folder, key = cache_folder(), _key()
        return next(_built(folder, key), None) or _build(folder, key)
    # RuntimeError: there is no home folder.
    except (UnavailableError, OSError, RuntimeError) as error:
        return str(error)


def cache_folder() -> Path:
    """Return the folder for compiled code, links resolved, made if necessary, which only the user can write to.

    Raises:
        UnavailableError: it is not the user's own.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossattn3d"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    # Code is loaded from there: whoever can write to it could run anything.
    if not _is_own(folder.lstat()):
        raise UnavailableError(f"{folder}: expected a folder that only this user can write to")
    return folder


def _is_own(found: os.stat_result) -> bool:
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


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


def _built(folder: Path, key: str) -> Iterator[ctypes.CDLL]:
    """Yield what was compiled before and can be loaded."""
    for path in sorted(folder.glob(f"tiles-{key}-*.so")):
        with suppress(OSError):  # gone by now, or made on a machine with other libraries
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and _is_own(found) and path.stem.endswith(_checksum(path)):
                yield _load(path)


def _build(folder: Path, key: str) -> ctypes.CDLL:
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


def _compile(compiler: str, folder: Path, key: str) -> ctypes.CDLL:
    """Compile to a temporary file, and rename it once it is loaded: another process finds all that works or nothing."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as name:
        made = Path(name) / "tiles.so"
        command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, errors="replace", check=False, timeout=PATIENCE)
        if done.returncode or not made.exists():
            lines = [line for line in done.stderr.splitlines() if "error" in line or "undefined" in line]
            reason = " ".join((lines or ["no reason given"])[0].split())[:200]
            raise UnavailableError(f"{compiler} could not compile it ({reason})")
        made.chmod(0o700)
        loaded = _load(made)
        made.replace(folder / f"tiles-{key}-{_checksum(made)}.so")
        return loaded


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    pointer, count, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    loaded.run_pass.argtypes = [pointer, count, pointer, count, pointer, count, size, size, count, count, pointer]
    loaded.run_pass.restype = count
    return loaded
