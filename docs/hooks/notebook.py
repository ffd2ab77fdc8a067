"""Notebooks become pages like all others: cells and their stored outputs as Markdown, without scripts or styles.

A cell has one picture at most, described by `alt` in the cell's metadata.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PNG = "image/png"


class Notebook(File):
    """A file that MkDocs takes for a page."""

    def is_documentation_page(self) -> bool:
        """Return that it is one, whatever its ending."""
        return True


def on_files(files: Files, config: MkDocsConfig, **_: object) -> Files:
    """Called by MkDocs with all files: those of notebooks are pages, with pictures beside them."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        places = (config.docs_dir, config.site_dir, config.use_directory_urls)
        page = Notebook(file.src_uri, *places, inclusion=file.inclusion)
        files.append(page)
        for name, content in pictures(_text(page), page.name):
            files.append(File.generated(config, str(Path(page.src_uri).with_name(name)), content=content))
    return files


def on_page_read_source(page: Page, **_: object) -> str | None:
    """Called by MkDocs before it reads a page: that of a notebook is made from its cells."""
    return markdown(_text(page.file), page.file.name) if isinstance(page.file, Notebook) else None


def pictures(notebook: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the file and the content of every picture in a notebook of this name, given as JSON."""
    for cell in json.loads(notebook)["cells"]:
        for output in cell.get("outputs", []):
            if PNG in output.get("data", {}):
                yield _file(cell, name), base64.b64decode("".join(output["data"][PNG]))


def markdown(notebook: str, name: str) -> str:
    """Return the cells of a notebook of this name, given as JSON, and the outputs stored in it as Markdown."""
    return "\n\n".join(part for cell in json.loads(notebook)["cells"] for part in _parts(cell, name))


def _text(file: File) -> str:
    return Path(str(file.abs_src_path)).read_text(encoding="utf-8")


def _file(cell: dict[str, Any], name: str) -> str:
    return f"{name}-{cell['id']}.png"


def _parts(cell: dict[str, Any], name: str) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if PNG in data:
            yield f"![{cell['metadata']['alt']}]({_file(cell, name)})"
        else:
            text = "".join(output.get("text", data.get("text/plain", "")))
            yield f'```{{ .text .no-copy title="Output" }}\n{text.rstrip()}\n```'
