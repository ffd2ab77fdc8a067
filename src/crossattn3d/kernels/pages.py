"""Large pages for large results: a third of a forward pass on the CPU is otherwise the kernel's, who hands out 4 KiB
pages one by one.
"""

import ctypes
import sys

from torch import Tensor

#: Results smaller than this, in bytes, are left alone.
LARGE = 2**23
#: MADV_HUGEPAGE of Linux.
ADVICE = 14
PAGE = 4096


def ask_for_large_pages(x: Tensor) -> Tensor:
    """Ask for large pages under the memory of `x`, on Linux; only advice, which changes no value and cannot fail."""
    if x.device.type == "cpu" and sys.platform == "linux" and x.nbytes >= LARGE:
        start = -(-x.data_ptr() // PAGE) * PAGE
        length = (x.data_ptr() + x.nbytes - start) // PAGE * PAGE
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ADVICE)
    return x
