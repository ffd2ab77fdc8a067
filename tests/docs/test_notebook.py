"""The tutorial runs as it is stored, its outputs are those of its cells, and it says nothing of who ran it."""

import itertools
import json
import math
import re

import nbformat
import pytest
from nbformat import NotebookNode

from benchmarks.notebook import KEPT, METADATA, NOTEBOOK, read, run
from support.docs_scripts import docs_script

NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
#: How far numbers of another processor may be from those stored. Sums of float32 in another order, as one or two
#: threads, AVX-512 or SSE make them, moved volumes by 0.1 ml and the loss by 0.01; training amplifies that, and g of a
#: skip, which is near 0, moved by 0.04. Whole numbers below 2 have to be the same.
RELATIVE, ABSOLUTE = 0.05, 0.1


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(cell: NotebookNode) -> list[tuple[str, tuple[str, ...], str]]:
    """Return kind, formats and text of the outputs; what libraries write to stderr depends on what is installed."""
    shown = [output for output in cell.outputs if output.get("name") != "stderr"]
    return [
        (output.output_type, tuple(sorted(output.get("data", ()))), " ".join(output.get("text", "").split()))
        for output in shown
    ]


def differences(stored: str, now: str) -> list[tuple[str, str]]:
    """Return the numbers of a text that are not those of another; both texts whole where their words differ."""
    if NUMBER.sub("#", stored) != NUMBER.sub("#", now):
        return [(stored, now)]
    pairs = zip(NUMBER.findall(stored), NUMBER.findall(now), strict=True)
    values = [(a, b, *(float(text.replace(",", "")) for text in (a, b))) for a, b in pairs]
    return [(a, b) for a, b, x, y in values if not math.isclose(x, y, rel_tol=RELATIVE, abs_tol=ABSOLUTE)]


def test_it_is_valid_small_and_run_from_top_to_bottom() -> None:
    assert NOTEBOOK.stat().st_size < 2**20
    notebook = read()
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    found = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in found if output.output_type == "error" or output.get("name") == "stderr"]
    assert len(found) > 10


def test_it_says_nothing_of_who_ran_it() -> None:
    notebook = read()
    assert notebook.metadata == METADATA, "store it with python -m benchmarks.notebook"
    assert all(set(cell.metadata) <= KEPT for cell in notebook.cells)
    texts = [cell.source for cell in notebook.cells]
    texts += [json.dumps(output) for cell in code_cells(notebook) for output in cell.outputs]
    texts = [re.sub(r'"image/png": "[^"]*"', "", text) for text in texts]
    assert not [text for text in texts if re.search(r"/(home|root|tmp|usr|opt|mnt|work|Users)/", text)]


def test_every_cell_is_introduced_and_every_picture_described() -> None:
    cells = read().cells
    for before, cell in itertools.pairwise(cells):
        assert "code" not in {before.cell_type} & {cell.cell_type}, cell.source
    for cell in cells:
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        assert bool(pictures) == ("alt" in cell.metadata), cell.source


@pytest.mark.slow
def test_it_runs_and_gives_what_is_stored() -> None:
    stored = read()
    for old, new in zip(code_cells(stored), code_cells(run(stored)), strict=True):
        before, now = outputs(old), outputs(new)
        assert [output[:2] for output in now] == [output[:2] for output in before], old.source
        assert not [pair for a, b in zip(before, now, strict=True) for pair in differences(a[2], b[2])], old.source


@pytest.mark.parametrize(
    ("stored", "now", "found"),
    [
        ("liver 1232 ml, g -0.003", "liver 1240 ml, g 0.011", []),
        ("tumors missed: 1", "tumors missed: 2", [("1", "2")]),
        ("600 to 3,500.", "600 to 4,500.", [("3,500", "4,500")]),
        ("bit-identical: True", "bit-identical: False", [("bit-identical: True", "bit-identical: False")]),
    ],
)
def test_what_differs_is_found(stored: str, now: str, found: list[tuple[str, str]]) -> None:
    assert differences(stored, now) == found


def test_cells_become_a_page() -> None:
    pytest.importorskip("mkdocs")
    new = nbformat.v4
    picture = new.new_output("display_data", {"image/png": "AAAA\n", "text/plain": "<Figure>"})
    text = new.new_output("stream", text="2\n")
    cells = [
        new.new_markdown_cell("# Title"),
        new.new_code_cell("print(2)", outputs=[text]),
        new.new_code_cell("plot()", outputs=[picture], metadata={"alt": "A curve"}, id="plot"),
    ]
    notebook = nbformat.writes(new.new_notebook(cells=cells))
    hook = docs_script("hooks/notebook")
    assert list(hook.pictures(notebook, "n")) == [("n-plot.png", b"\0\0\0")]
    assert hook.markdown(notebook, "n") == (
        '# Title\n\n```python\nprint(2)\n```\n\n```{ .text .no-copy title="Output" }\n2\n```\n\n'
        "```python\nplot()\n```\n\n![A curve](n-plot.png)"
    )
