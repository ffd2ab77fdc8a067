"""Compiling the C++ for this processor ahead of the first call that needs it: `python -m crossattn3d.build`."""

import argparse
import sys

from crossattn3d.kernels.cpp.build import find_or_build
from crossattn3d.kernels.cpp.cache import UnavailableError


def main() -> int:
    """Find or build the compiled code, say which, and return the exit status: 0 it is there, 1 it cannot be."""
    description = "Compile the C++ of crossattn3d for this processor and user, so that no later call waits for it."
    argparse.ArgumentParser(prog="python -m crossattn3d.build", description=description).parse_args()
    try:
        library = find_or_build()
    except UnavailableError as error:
        print(f"error: C++ cannot be used: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    version = library.functions.compiler().decode()
    print(f"{'built' if library.was_built else 'found'}: {library.path}")
    print(f"compiler: {f'GCC {version}' if version[0].isdigit() else version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
