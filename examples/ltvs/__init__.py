"""The liver-tumour-vessel pipeline: everything the command lines in `examples/` share."""

import os

# Before torch is loaded: its threads otherwise spin while they wait, and where workers share the cores with them a
# training step on the CPU takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
