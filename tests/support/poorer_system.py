"""Imports every module of the package, the pipeline, its commands and the benchmarks on a system that lacks a lot.

`python poorer_system.py` prints the modules that cannot be imported there, one a line, with the reason.
"""

import importlib
import os
import pkgutil
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Modules and functions that Windows or macOS lack.
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "posix_ipc")
OF_OS = ("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "sched_getaffinity",
         "sysconf", "wait4", "waitid", "statvfs", "chown", "mkfifo", "getloadavg", "O_NOFOLLOW", "posix_fallocate",
         "posix_fadvise", "sendfile", "memfd_create", "pipe2", "uname", "fchmod")  # fmt: skip
OF_SIGNAL = ("pthread_sigmask", "sigwait", "setitimer", "alarm", "SIGKILL", "SIGCHLD", "SIGHUP", "SIGALRM", "SIGSTOP",
             "SIGUSR1", "SIGPIPE", "SIGQUIT")  # fmt: skip
#: What others import from the system is their concern, so that they are there before it is taken away.
OTHERS = ("torch", "torch._dynamo", "numpy", "scipy.ndimage", "SimpleITK", "monai.inferers", "monai.data",
          "monai.transforms", "lightning_fabric", "tensorboard.summary.writer.record_writer", "nibabel", "pydicom",
          "highdicom", "tyro", "matplotlib.figure", "matplotlib.pyplot", "tqdm", "rich.table", "skimage.morphology",
          "concurrent.futures.process", "multiprocessing.popen_spawn_posix", "safetensors.torch",
          "torch.utils.data")  # fmt: skip


def become_poorer() -> None:
    """Take away what some systems lack."""
    for name in OTHERS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    sys.modules.update(dict.fromkeys(MODULES))
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


def failures() -> list[str]:
    """Return a line for each module that cannot be imported."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "examples"), str(ROOT)]
    names = [path.stem for path in (ROOT / "examples").glob("*.py")]
    for top in ("crossattn3d", "ltvs", "benchmarks"):
        package = importlib.import_module(top)
        names += [top, *(found.name for found in pkgutil.walk_packages(package.__path__, f"{top}."))]
    found = []
    for name in sorted(names):
        try:
            importlib.import_module(name)
        except Exception as error:
            # Its kernels need Triton, which is told where they are asked for.
            if getattr(error, "name", None) != "triton":
                found.append(f"{name}: {type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    become_poorer()
    print(*failures(), sep="\n", end="")
