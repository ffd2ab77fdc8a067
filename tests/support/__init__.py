"""Helpers of the tests: small cases and runs, stand-ins for servers and cohorts, the equations in loops."""

from pathlib import Path

#: Scripts that tests start in processes of their own lie here.
SUPPORT = Path(__file__).parent
