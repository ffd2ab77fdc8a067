"""The viewer NiiVue, from the PyPI package `ipyniivue`, for a page that loads nothing from the network.

The package's widget holds all of NiiVue a second time, as a module in a URL-encoded string, for its own "save as HTML".
That is undocumented, so the version is bounded and the content is checked.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote

from ltvs.runtime.errors import InputError
from ltvs.runtime.extras import how_to_install

PACKAGE = "ipyniivue"
WIDGET = "ipyniivue/static/widget.js"

#: How the string begins, and how many characters it has at least: nothing else in the widget is as long.
_START, _LEAST = '"var%20', 1_000_000
#: The page calls these; the module ends in the list of its exports.
_NEEDED = ("Niivue", "NVImage", "NVMesh")


@dataclass(frozen=True)
class Viewer:
    """NiiVue, to be embedded.

    Args:
        module: its JavaScript, an ES module.
        license: the text of the package's license, which has to go where the module goes.
        version: of the package.
    """

    module: str
    license: str
    version: str


def installed_viewer() -> Viewer:
    """Return NiiVue out of the installed package.

    Raises:
        InputError: the package is not installed, or does not hold the module where versions that were tried have it.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise InputError(f"a page needs {PACKAGE} (not installed); {how_to_install('view')}") from error
    version = package.version
    widget = Path(str(package.locate_file(WIDGET)))
    licenses = [path for path in package.files or () if path.name.upper().startswith("LICENSE")]
    try:
        text = widget.read_text(encoding="utf-8")
        rights = "\n\n".join(Path(str(path.locate())).read_text(encoding="utf-8").strip() for path in licenses)
    except OSError as error:
        raise _unlike(version, f"{error.filename} that can be read ({error.strerror})") from error
    if not rights:
        raise _unlike(version, "a license")
    return Viewer(_module(text, version), rights, version)


def _module(widget: str, version: str) -> str:
    """Return the module in a widget's JavaScript, whose quotation marks are encoded."""
    start = widget.find(_START)
    while start >= 0:
        stop = widget.find('"', start + 1)
        if stop - start > _LEAST:
            module = unquote(widget[start + 1 : stop], errors="strict")
            head, _, exports = module.rpartition("export{")
            names = {name.split(" as ")[-1] for name in exports.rstrip("; \n").removesuffix("}").split(",")}
            if head and names.issuperset(_NEEDED):
                return module
        start = widget.find(_START, start + 1)
    raise _unlike(version, f"NiiVue's module in {WIDGET}")


def _unlike(version: str, what: str) -> InputError:
    return InputError(
        f"{PACKAGE} {version}: expected {what}, found none; another version may have it: {how_to_install('view')}"
    )
