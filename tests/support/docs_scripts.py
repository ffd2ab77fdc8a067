"""The scripts in docs, which are in no package: hooks of the site, and figures."""

import importlib.util
from types import ModuleType

from support.pages import ROOT


def docs_script(place: str) -> ModuleType:
    """Import a script by its place in docs: `hooks/mathml`."""
    path = ROOT / "docs" / f"{place}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
