"""Compiles `tiles.cpp` and its headers for this processor, once per user and machine, and loads the result."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("tiles.cpp")
_HERE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
FLAGS = ("-std=c++17", "-O3", _HERE, "-fPIC", "-shared", "-pthread", "-Wno-psabi")
#: Seconds that the compiler may take; it usually takes two or three.
PATIENCE = 120


class UnavailableError(Exception):
    """The reason, in one line, why C++ cannot be used here."""


@cache
def library() -> ctypes.CDLL | str:
    """Return the functions of `tiles.cpp`, or the reason, in one line, why there are none; tried once per process.

    Compiled code is kept in `crossattn3d` of the user's cache folder (`XDG_CACHE_HOME`), under a name that holds the
    source, the compiler and the processor, so that a change of any of them makes another file.
    """
    try:
        compiler = _compiler()
        path = cache_folder() / f"tiles-{_key(compiler)}.so"
        if not path.exists():
            _compile(compiler, path)
        return _declare(ctypes.CDLL(str(path)))
    # RuntimeError: there is no home folder.
    except (UnavailableError, OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)


def cache_folder() -> Path:
    """Return the folder for compiled code, made if necessary, which only the user can write to.

    Raises:
        UnavailableError: it is not the user's own.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossattn3d"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    # Code is loaded from there: whoever can write to it could run anything.
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UnavailableError(f"{folder}: expected a folder that only this user can write to")
    return folder


def _compiler() -> str:
    if sys.platform not in ("linux", "darwin"):
        raise UnavailableError(f"it is not built on {sys.platform}")
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise UnavailableError("no C++ compiler (g++ 12 or newer, or clang++) was found")


def _key(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=PATIENCE).stdout
    sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]*")))
    parts = (sources, version, " ".join(FLAGS).encode(), platform.machine().encode(), _processor())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _processor() -> bytes:
    """Return the processor's instruction sets: several machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _compile(compiler: str, path: Path) -> None:
    """Compile to a temporary file and rename it, so that another process finds all of it or nothing."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no reason given"]
            raise UnavailableError(f"{compiler} could not compile it ({errors[0].strip()[:200]})")
        made.replace(path)


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    pointer, count, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    loaded.run_pass.argtypes = [pointer, count, pointer, count, pointer, count, size, size, count, count, pointer]
    loaded.run_pass.restype = count
    return loaded
