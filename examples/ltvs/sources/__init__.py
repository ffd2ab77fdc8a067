"""Where patients come from. A source lists its cases by name, each with a function that loads it."""

from collections.abc import Callable

from ltvs.case import Case

#: Names of the cases, each with what loads it; called in a worker process, so that one case is in memory at a time.
Source = dict[str, Callable[[], Case]]
