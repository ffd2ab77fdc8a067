"""What the sources print, with `…` for values, and what the pages of troubleshooting say about it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support.pages import ROOT

#: Stands for a value in a message.
HOLE = "…"
FOLDER = ROOT / "docs" / "troubleshooting"
#: Pages of typical problems, which show messages in blocks of text; all others have tables of messages.
TYPICAL = tuple(FOLDER / name for name in ("index.md", "installing.md"))
SOURCES = sorted(path for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py"))
#: Modules that say what is wrong in strings that others raise or print.
REASONS = (
    "dataset/checks.py", "volume/hounsfield.py", "measurement/doubts.py", "model/computing.py", "prediction/job.py",
    "prediction/sharing.py", "runtime/errors.py", "runtime/locks.py", "runtime/workers.py", "training/devices.py",
    "training/loader.py", "training/loop.py", "dropin/refusals.py", "triton/run.py", "kernels/backends.py",
    "cpp/build.py",
)  # fmt: skip


#: Texts of these modules that report no error: lines of a log, assertions, and patterns of warnings that are silenced.
NO_ERRORS = (
    "auto: … for maps of", "done: validation Dice", "at epoch …, step", "saved …; the same command", "Grad strides",
    "Detected call", "sums of single-channel maps", "centered maps are read",
)  # fmt: skip
#: Words from which on a string of these is a message, and no name.
SENTENCE = 4


class Line(NamedTuple):
    """A message in the sources, or a fragment of messages on a page.

    Attributes:
        text: with `…` for values.
        path: of the source or page.
        line: in it.
    """

    text: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.text}"


@cache
def pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of a text in which `…` stands for anything."""
    return re.compile(".*".join(map(re.escape, text.split(HOLE))), re.DOTALL)


def words(text: str) -> int:
    """Return how many words a text has besides values."""
    return len(re.findall(r"[A-Za-z]{2,}", text.replace(HOLE, " ")))


@cache
def texts(path: Path) -> tuple[Line, ...]:
    """Return all strings of a source but docstrings; those that are put together as one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = _constants(tree)
    inside = {id(part) for node in ast.walk(tree) for part in _left_out(node)}
    found = [node for node in ast.walk(tree) if id(node) not in inside and isinstance(node, ast.expr)]
    return tuple(Line(text, path, node.lineno) for node in found if (text := _text(node, known)).strip(HOLE))


@cache
def raised(path: Path) -> tuple[Line, ...]:
    """Return the messages of a source that are raised or made into an exception, and its reasons and warnings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = _constants(tree)
    said = {id(node): node for call in _calls(tree) for node in call.args}
    found = [Line(_text(node, known), path, node.lineno) for node in said.values()]
    if path.as_posix().endswith(REASONS):
        found += [one for one in texts(path) if words(one.text) >= SENTENCE]
    found += [one for one in texts(path) if one.text.startswith(("warning: ", "error: "))]
    said = [one for one in dict.fromkeys(found) if words(one.text) >= 2 and " " in one.text.strip(HOLE)]
    return tuple(one for one in said if not one.text.lstrip().startswith(NO_ERRORS))


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield calls that make an exception: of a class whose name ends with `Error`, or in a `raise`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield node.exc
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
            yield node


def _left_out(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is no string of its own: expressions that nobody uses, annotations, and parts of longer strings."""
    match node:
        case ast.Expr(ast.Constant()):
            yield node.value
        case ast.JoinedStr():
            yield from (part for part in node.values if isinstance(part, ast.Constant))
        case ast.BinOp(left, ast.Add(), right):
            yield from (left, right)
        case ast.arg() | ast.AnnAssign() if node.annotation is not None:
            yield from ast.walk(node.annotation)
        case ast.FunctionDef() if node.returns is not None:
            yield from ast.walk(node.returns)


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the strings that a module gives names to."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.AST, known: dict[str, str]) -> str:
    """Return the text of an expression, with `…` for what only running it tells."""
    match node:
        case ast.Constant(str(value)):
            return re.sub(r"%[rs]", HOLE, value)
        case ast.Name(name) if name in known:
            return known[name]
        case ast.FormattedValue(value):
            return _text(value, known) if isinstance(value, ast.Name) else HOLE
        case ast.JoinedStr(values):
            return "".join(_text(value, known) for value in values)
        case ast.BinOp(left, ast.Add(), right):
            return _text(left, known) + _text(right, known)
        case ast.Call(ast.Attribute(value, "format")):
            return re.sub(r"\{\w*\}", HOLE, _text(value, known))
    return HOLE


@cache
def rows() -> tuple[Line, ...]:
    """Return all fragments of messages in the first column of the tables on the pages."""
    found = []
    for page in sorted(FOLDER.glob("*.md")):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            cell = line.split(" | ")[0] if page not in TYPICAL and line.startswith("| `") else ""
            found += [Line(code, page, number) for code in re.findall(r"`([^`]+)`", cell)]
    return tuple(found)


def shown() -> tuple[Line, ...]:
    """Return the lines of messages in the blocks of text on the pages of typical problems."""
    found, inside = [], False
    for page in TYPICAL:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            if line.startswith("```"):
                inside = line == "```text"
            elif inside:
                found.append(Line(line.strip(), page, number))
    return tuple(found)


def rows_for(message: str) -> list[Line]:
    """Return the rows that explain a message as it is printed, or as the sources have it."""
    return [row for row in rows() if pattern(row.text).search(message)]
