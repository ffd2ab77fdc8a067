"""Run the tutorial, docs/tutorial.ipynb, and store the outputs in it."""

import copy
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from benchmarks import DOCS, ROOT, pages

NOTEBOOK = DOCS / "tutorial.ipynb"
#: All that the file says about the Python that ran it: another machine writes the same.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: Of a cell: what its picture shows, for those who do not see it.
KEPT = {"alt"}
#: Seconds for a cell, at most.
_LONGEST = 600


def read() -> NotebookNode:
    """Return the tutorial as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with the outputs of all its cells, which run on the CPU, in a copy of the clone's folders.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    made = copy.deepcopy(notebook)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "docs"
        place.mkdir()
        place.with_name("examples").symlink_to(ROOT / "examples")
        environment = os.environ | {
            "CUDA_VISIBLE_DEVICES": "",
            "IPYTHONDIR": folder,  # no settings of the user, and no entry in the history
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONPATH": str(ROOT / "src"),
        }
        client = NotebookClient(
            made,
            kernel_name="python3",
            timeout=_LONGEST,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(place)}},
        )
        client.execute(env=environment)
    made.metadata = nbformat.from_dict(METADATA)
    for cell in made.cells:
        cell.metadata = nbformat.from_dict({key: text for key, text in cell.metadata.items() if key in KEPT})
    return made


def main() -> None:
    """Run the tutorial and store its outputs."""
    pages.take_no_options("benchmarks.notebook", __doc__)
    NOTEBOOK.write_text(nbformat.writes(run(read())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
