"""What the reference pages link to besides each other: types of other libraries, and pages that docstrings name."""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

TORCH = "https://docs.pytorch.org/docs/stable"
ABC = "https://docs.python.org/3/library/collections.abc.html"
COLLECTIONS = ("Callable", "Iterable", "Iterator", "Mapping", "Sequence")
JAXTYPING = "https://docs.kidger.site/jaxtyping/api/array/"

#: Where other libraries document a type. mkdocstrings could download their inventories, but the build needs no network.
TYPES = {
    "torch.Tensor": f"{TORCH}/tensors.html#torch.Tensor",
    "torch.device": f"{TORCH}/tensor_attributes.html#torch.device",
    "torch.dtype": f"{TORCH}/tensor_attributes.html#torch.dtype",
    "torch.nn.Module": f"{TORCH}/generated/torch.nn.Module.html#torch.nn.Module",
    "torch.nn.Parameter": f"{TORCH}/generated/torch.nn.parameter.Parameter.html#torch.nn.parameter.Parameter",
    "numpy.ndarray": "https://numpy.org/doc/stable/reference/generated/numpy.ndarray.html#numpy.ndarray",
    "SimpleITK.Image": "https://simpleitk.org/doxygen/latest/html/classitk_1_1simple_1_1Image.html",
    "pathlib.Path": "https://docs.python.org/3/library/pathlib.html#pathlib.Path",
    **{f"collections.abc.{name}": f"{ABC}#collections.abc.{name}" for name in COLLECTIONS},
    **{f"jaxtyping.{name}": JAXTYPING for name in ("Bool", "Float", "Float32", "Int", "Int16", "Int32")},
}

#: How docstrings name a page, so that `help` shows where it lies.
PAGE = re.compile(r"\bdocs/([\w/-]+\.md)\b")


def on_env(*_: Any, config: MkDocsConfig, **__: Any) -> None:
    """Called by MkDocs when all pages are there, before autorefs resolves names."""
    for name, url in TYPES.items():
        config.plugins["autorefs"].register_url(name, url)


def on_page_content(content: str, page: Page, files: Files, **_: Any) -> str:
    """Called by MkDocs with the HTML of each page."""

    def linked(found: re.Match[str]) -> str:
        file = files.get_file_from_path(found[1])
        if file is None:
            return found[0]
        return f'<a href="{get_relative_url(file.url, page.url)}">{found[0]}</a>'

    return PAGE.sub(linked, content) if page.file.src_uri.startswith("reference/") else content
