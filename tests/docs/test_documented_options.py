"""The options that pages, comments, docstrings and messages name are those of the commands, and so are their values."""

import ast
import re
from pathlib import Path

import pytest

from support.documented_options import commands, fault_of_text, fault_of_words
from support.pages import ALL_PAGES, ROOT, code_lines, inline_code

SOURCES = sorted(path for folder in ("src", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", ALL_PAGES, ids=named)
def test_code_on_the_pages(page: Path) -> None:
    pieces = [*inline_code(page), *code_lines(page)]
    assert not [f"{piece}: {fault}" for piece in pieces if (fault := fault_of_words(piece))]


def test_the_pages_have_code_to_check() -> None:
    pieces = [piece for page in ALL_PAGES for piece in inline_code(page) if "--" in piece]
    assert len(pieces) > 100
    lines = [line for page in ALL_PAGES for line in code_lines(page)]
    assert {name for name in commands() if any(name in line for line in lines)} >= {"train_ltvs.py", "benchmarks.speed"}


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_docstrings_and_messages(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [fault for text in texts if (fault := fault_of_text(text))]


@pytest.mark.parametrize("file", [*SOURCES, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "mkdocs.yml"], ids=named)
def test_comments(file: Path) -> None:
    comments = re.findall(r"(?:^|\s)#:? (.*)", file.read_text(encoding="utf-8"))
    assert not [fault for text in comments if (fault := fault_of_text(text))]


@pytest.mark.parametrize(
    "words",
    [
        "--precision bf16-mixed",
        "--jitter 4",
        "--no-residual",
        "--workers",
        "--liver DIR",
        "train_ltvs.py --fixed noise shape",
        "python examples/predict_ltvs.py --input ct.nii.gz --output labels.nii.gz --device cuda:1  # on a GPU",
        "python -m benchmarks.speed --device cpu --check",
        "pip install --editable .",
        "python -m monai.bundle run --config_file configs/inference.json --input ct.nii.gz --smallest_liver 50",
        "--smallest_liver 50",
        "--shm-size",
        "make demo",
    ],
)
def test_what_is_right_passes(words: str) -> None:
    assert fault_of_words(words) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--precision bfloat16", "not understood"),
        ("--jiter 4", "no such option"),
        ("python -m monai.bundle run --smallest-liver 50", "no such option"),
        ("--jitter far", "not understood"),
        ("--no-jitter", "no such option"),
        ("train_ltvs.py --replace", "no such option"),
        ("predict_ltvs.py --run runs/a --stage 2", "no such option"),
        ("train_ltvs.py --fixed noise shapes", "not understood"),
        ("--patch 32 56", "not understood"),
        ("python -m benchmarks.speed --device mps", "not understood"),
        ("python -m benchmarks.real_cases --structures bones", "not understood"),
        ("--loss dice_ce --schedule linear", "not understood"),
    ],
)
def test_what_is_wrong_is_found(words: str, said: str) -> None:
    assert (fault_of_words(words) or "").startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("use --precision 32, or --norm instance, which needs none", None),
        ("--source msd08 only; got --source SOURCE", None),
        ("the --workers that read patches", None),
        ("use --precision float32", "--precision: expected"),
        ("use --norm\n    layer", "--norm: expected"),
        ("give another --outputs", "no such option: --outputs"),
    ],
)
def test_messages(text: str, said: str | None) -> None:
    fault = fault_of_text(text)
    assert fault is None if said is None else (fault or "").startswith(said)
