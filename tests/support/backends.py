"""The fast backends that can be tested on any machine."""

import pytest

from crossattn3d.kernels.native.build import library

_REASON = library()
needs_native = pytest.mark.skipif(isinstance(_REASON, str), reason=f"no native code: {_REASON}")
#: What hypothesis may draw from, beside those that run anywhere.
NATIVE = [] if isinstance(_REASON, str) else ["native"]
FAST = ["factorised", pytest.param("native", marks=needs_native)]
EVERY = ["reference", *FAST]
