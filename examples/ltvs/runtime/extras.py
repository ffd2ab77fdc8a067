"""Libraries beyond a plain installation: which extra installs them, and the line that says so where one is missing."""

import sys
from importlib.util import find_spec

from ltvs.runtime.errors import InputError

#: What an extra installs for the commands, as it is imported.
EXTRAS = {
    "ltvs": ("SimpleITK", "pydicom", "highdicom", "monai", "nibabel", "scipy", "skimage", "matplotlib", "tyro", "rich",
             "tqdm", "safetensors", "tensorboard", "lightning_fabric", "filelock"),
    "view": ("ipyniivue",),
    "onnx": ("onnx", "onnxscript"),
    "triton": ("triton",),
}  # fmt: skip
#: What the repository holds: that it is missing is no matter of extras.
OURS = ("ltvs", "benchmarks", "support")


def how_to_install(extra: str) -> str:
    """Return the remedy as `crossattn3d` says it, which may itself be what is missing."""
    return f'run pip install ".[{extra}]" in a clone of crossattn3d'


def require_extra(extra: str) -> None:
    """Check that everything that an extra installs for the commands is there, before they begin.

    Raises:
        InputError: something is missing.
    """
    if missing := [name for name in EXTRAS[extra] if not _is_there(name)]:
        raise InputError(f"needs {', '.join(missing)} (not installed); {how_to_install(extra)}")


def missing_line(error: ModuleNotFoundError) -> str | None:
    """Return the line that says how to install what an import did not find; None if it is a part of ours.

    What no other extra installs, `ltvs` does: the package and its own libraries, too.
    """
    name = (error.name or "").partition(".")[0]
    if not name or name in OURS or name in sys.stdlib_module_names:
        return None
    # A module of a package that is there is a mistake of ours, or of another library.
    if error.name != name and _is_there(name):
        return None
    extra = next((extra for extra, names in EXTRAS.items() if name in names), "ltvs")
    return f"needs {name} (not installed); {how_to_install(extra)}"


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
