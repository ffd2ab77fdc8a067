"""The fast backends that can be tested on any machine."""

import pytest

from crossattn3d.kernels.cpp.build import library

_REASON = library()
needs_cpp = pytest.mark.skipif(isinstance(_REASON, str), reason=f"no C++: {_REASON}")
#: Backends for hypothesis to draw from beside those that run anywhere.
CPP = [] if isinstance(_REASON, str) else ["cpp"]
FAST = ["torch", pytest.param("cpp", marks=needs_cpp)]
EVERY = ["reference", *FAST]
