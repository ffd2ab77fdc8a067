"""`python label_stand_ins.py IN OUT PROCESSES`: label with stand-ins, as a command of ours; print the outcomes."""

import json
import sys
from pathlib import Path
from typing import NoReturn


class _Unpicklable:
    def __reduce__(self) -> tuple:
        return _fail, ()

    def __call__(self, *_: object) -> NoReturn:
        raise AssertionError("it never arrives")


def _fail() -> NoReturn:
    sys.exit(1)


def cannot_be_unpickled() -> _Unpicklable:
    """Return what ends the process that receives it."""
    return _Unpicklable()


def main() -> None:
    """Label, and print the outcome of each case."""
    given, count = job(Path(sys.argv[1]), Path(sys.argv[2])), int(sys.argv[3])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        share_out(given, ["cpu"] * count, lambda *_: None)
    except Terminated:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(outcomes(Path(sys.argv[2]))))


def _terminate(*_: object) -> None:
    raise Terminated


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]
    import signal

    from ltvs.prediction.processes import share_out
    from ltvs.runtime.interrupts import Terminated
    from support.stand_in_labeler import job, outcomes

    main()
