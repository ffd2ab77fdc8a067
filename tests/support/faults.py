"""What may befall a process that reads or prepares: errors of all kinds, a sudden end, a standstill."""

import os
import signal
import sys
import time


class CannotBePickledError(Exception):
    """An exception that cannot be handed over to another process."""

    def __reduce__(self):
        raise TypeError("cannot pickle this")


def fault(name: str) -> None:
    """Let a fault occur: `memory`, `torch memory`, `pickle`, `exit`, `os exit 0`, `kill`, `segv`, `stop` or `stuck`."""
    match name:
        case "memory":
            raise MemoryError("Unable to allocate 9 TiB")
        case "torch memory":
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        case "pickle":
            raise CannotBePickledError("1 and\n2")
        case "exit":
            sys.exit(0)
        case "os exit 0":
            os._exit(0)
        case "kill" | "segv" | "stop":
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "stop": signal.SIGSTOP}[name])
    # Stuck, as are those that were stopped once they go on.
    while True:
        time.sleep(3600)
