"""Voxels of a volume file: all that its header promises and no more, or an error.

ITK leaves what it finds in memory in the place of voxels that are missing, and reports nothing.
"""

import bz2
import gzip
import io
import zlib
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from ltvs.runtime.errors import InputError

#: How voxels may be stored in a file; `zlib` may have the header of zlib or that of gzip.
Encoding = Literal["raw", "gzip", "bzip2", "zlib"]

#: Errors that reading a damaged file raises.
UNREADABLE = (OSError, EOFError, zlib.error)

#: Far more than a CT of the whole body has; a damaged header may claim any number.
_MOST_VOXELS = 2**32


def read_voxels(
    path: Path, file: IO[bytes], encoding: Encoding, size: tuple[int, int, int], kind: np.dtype[Any]
) -> np.ndarray:
    """Read the voxels of a volume, which end its file.

    Args:
        path: of the file, for messages.
        file: at the first byte of the voxels.
        encoding: of the voxels.
        size: voxels along x, y, z.
        kind: type of a voxel in the file.

    Returns:
        array (z, y, x) in the machine's byte order.

    Raises:
        InputError: the size is absurd, voxels are missing, something follows them, a checksum is wrong, or memory is
            too small.
    """
    if min(size) < 1 or prod(size) > _MOST_VOXELS:
        raise InputError(
            f"{path}: expected a header of 1 to {_MOST_VOXELS} voxels, got {' x '.join(map(str, size))}; "
            "is it damaged? Copy the file again"
        )
    expected = prod(size) * kind.itemsize
    try:
        values = np.empty(size[::-1], kind)
        found, ends = _fill(values.reshape(-1).view(np.uint8).data, _decoded(file, encoding, expected))
    except MemoryError as error:
        raise InputError(f"{path}: needs {expected / 1e9:.3g} GB of free memory; free some, or crop the CT") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: is cut short or damaged ({error}); copy it again") from error
    if found < expected:
        raise InputError(f"{path}: is cut short, {found} of {expected} bytes of voxels are there; copy it again")
    if not ends:
        raise InputError(
            f"{path}: expected {expected} bytes of voxels as its header says, got more; is the header damaged? "
            "Copy the file again"
        )
    return values.astype(kind.newbyteorder("="), copy=False)


def _fill(buffer: memoryview, stream: IO[bytes]) -> tuple[int, bool]:
    """Fill a buffer and return the number of bytes found, and whether the stream ends with them.

    The end of a compressed stream has to be read: there its checksum is verified.
    """
    found = 0
    while block := stream.read(min(len(buffer) - found, 1 << 24)):
        buffer[found : found + len(block)] = block
        found += len(block)
    return found, not stream.read(1)


def _decoded(file: IO[bytes], encoding: Encoding, expected: int) -> IO[bytes]:
    """Return the stream of the decoded bytes, of which no more than one beyond those expected is needed."""
    if encoding == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if encoding == "bzip2":
        return bz2.BZ2File(file)
    if encoding == "raw":
        return file
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    content = inflater.decompress(file.read(), expected + 1)
    if len(content) <= expected and (not inflater.eof or inflater.unused_data):
        raise EOFError("the compressed voxels do not end where they should")
    return io.BytesIO(content)
