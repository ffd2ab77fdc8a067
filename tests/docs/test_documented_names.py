"""Modules, functions, files, headings and make's targets that pages and docstrings name are there."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from support.pages import ALL_PAGES, ROOT, code_lines, inline_code, text_of

SOURCES = sorted(path for folder in ("src", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
FOLDERS = ("src", "examples", "benchmarks", "tests", "docs")
#: Files that commands write.
MADE = {"README.md", "docs/README.md"}
DOTTED = re.compile(r"(?<![\w./])(?:crossattn3d|ltvs|benchmarks)(?:\.\w+)+(?![\w/])")
FILE = re.compile(r"(?<![\w./-])[\w./-]+\.(?:py|cpp|h|md|toml|yml)(?![\w/])")
FOLDER = re.compile(r"(?:\w+/)+")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_name(dotted: str) -> bool:
    """Return whether a dotted name is that of a module, or of something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if error.name is None or not dotted.startswith(error.name):
                return True  # a library that is not installed here, which says nothing about the name
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", ())
            found = getattr(found, part)
        return True
    return False


@cache
def paths() -> list[str]:
    """Return the paths of all files and folders here, each after a slash."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return [f"/{path.relative_to(ROOT).as_posix()}" for path in (*found, *ROOT.iterdir())]


def is_there(path: str) -> bool:
    """Return whether a file or folder here has this path, or one that ends with it."""
    return any(known.endswith(f"/{path.rstrip('/')}") for known in paths())


def faults(texts: list[str]) -> list[str]:
    """Return the names, files and folders in some texts that are not there."""
    dotted = {name for text in texts for name in DOTTED.findall(text) if not FILE.fullmatch(name)}
    files = {path for text in texts for path in FILE.findall(text)} - MADE
    folders = {text for text in texts if FOLDER.fullmatch(text)}
    return [name for name in sorted(dotted) if not is_name(name)] + [
        path for path in sorted(files | folders) if not is_there(path)
    ]


@pytest.mark.parametrize("page", ALL_PAGES, ids=named)
def test_names_on_the_pages(page: Path) -> None:
    assert not faults(inline_code(page))


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_names_in_docstrings_and_comments(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, documented)]
    assert not faults([*docstrings, *re.findall(r"(?:^|\s)#:? (.*)", text)])


@cache
def definitions(path: Path) -> set[str]:
    """Return the names of all that is defined in a file, methods after their class and a dot, too."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def functions_and_files(page: Path) -> list[tuple[str, str]]:
    """Return each `function` (`file.py`) of a page."""
    return re.findall(r"`([\w.]+)` \(`([\w/.]+\.py)`", " ".join(page.read_text(encoding="utf-8").split()))


def test_functions_are_in_the_files_that_contributors_are_sent_to() -> None:
    pairs = functions_and_files(ROOT / "CONTRIBUTING.md")
    assert len(pairs) > 20
    for name, file in pairs:
        paths = [path for path in SOURCES if path.as_posix().endswith(f"/{file}")]
        assert any(name in definitions(path) for path in paths), (name, file)


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = [piece for page in ALL_PAGES for piece in (*inline_code(page), *code_lines(page))]
    asked = {target for piece in code for target in re.findall(r"^make ([a-z][\w-]*)", piece)}
    assert {"demo", "demo-train", "test", "test-all", "networks"} <= asked
    assert asked <= targets


def slug(heading: str) -> str:
    """Return the anchor of a heading, on GitHub as on the site."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text))


def links(page: Path) -> list[tuple[str, str]]:
    """Return the file, empty for the page itself, and the anchor of each link to something here."""
    text = text_of(page)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<[^>]*\s(?:src|href)=[\"']([^\"']+)", text)
    # Material shows a picture with #only-light or #only-dark in the scheme of that name.
    targets = [re.sub(r"#only-(light|dark)$", "", target) for target in found]
    return [tuple(target.partition("#")[::2]) for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", ALL_PAGES, ids=named)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for file, anchor in links(page):
        target = page.parent / file if file else page
        assert target.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(target), re.MULTILINE)
            assert anchor in [slug(heading) for heading in headings], f"{file}#{anchor}"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`crossattn3d.folding.fold_batch_norm` in `ltvs/model/stages.py`, `tests/docs/test_gate.py`", []),
        ("`ltvs.training.loader.PatchLoader.epochs`", ["ltvs.training.loader.PatchLoader.epochs"]),
        ("crossattn3d.no_such.module", ["crossattn3d.no_such.module"]),
        ("kernels/cuda/", ["kernels/cuda/"]),
        ("docs/no-such.md says how, and kernels/none.cpp", ["docs/no-such.md", "kernels/none.cpp"]),
    ],
)
def test_what_is_not_there_is_found(text: str, missing: list[str]) -> None:
    assert faults([text]) == missing
