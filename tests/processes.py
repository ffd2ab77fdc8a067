"""What still runs, as Linux lists it."""

from pathlib import Path


def processes_of(session: int) -> list[int]:
    """What still runs of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found
