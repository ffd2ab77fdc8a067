"""The documentation as a site: it needs no network, and its formulas are drawn by the browser itself."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What a browser fetches by itself: scripts, styles, fonts, pictures; links that a reader follows are none of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//
    |<link[^>]*rel=["']?(?:stylesheet|preconnect|preload|icon)[^>]*href=["']?(?:https?:)?//
    |url\(["']?(?:https?:)?//
    |@import""",
    re.VERBOSE,
)


def hook() -> object:
    spec = importlib.util.spec_from_file_location("mathml", ROOT / "docs" / "hooks" / "mathml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_mathml() -> None:
    pytest.importorskip("latex2mathml")
    page = (
        '<p>With <span class="arithmatex">\\(a &lt; b\\)</span>, <code>\\(c\\)</code>:</p>'
        '<div class="arithmatex">\\[\nW_q U\n\\]</div>'
    )
    made = hook().on_page_content(page, page=None)  # type: ignore[attr-defined]
    assert "arithmatex" not in made
    assert re.search(r'<span class="formula"><math [^>]*display="inline">.*&#x0003C;.*</math></span>', made)
    assert re.search(r'<div class="formula"><math [^>]*display="block">.*<msub>.*</math></div>', made)
    assert "<code>\\(c\\)</code>" in made, "code stays as it is"


#: Styles, scripts and pictures that a page takes from the site itself.
OWN = re.compile(
    r"""<(?:script|img)[^>]*\ssrc=["']?([^"'\s>]+)|<link[^>]*rel=["']?(?:stylesheet|icon)[^>]*href=["']?([^"'\s>]+)"""
)


@pytest.mark.slow
def test_a_browser_finds_all_that_it_fetches_and_nothing_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 15
    for path in [*pages, *tmp_path.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        found = FETCHED.search(text)
        assert not found, (path.name, text[found.start() - 50 : found.end() + 80])
        assert path.suffix == ".css" or "arithmatex" not in text, path
        own = ["".join(groups) for groups in OWN.findall(text)]
        assert own or path.suffix == ".css"
        for target in own:
            place = tmp_path / target.lstrip("/") if target.startswith("/") else path.parent / target
            assert target.startswith("data:") or place.is_file(), (path.name, target)
    method = (tmp_path / "understand" / "method" / "index.html").read_text(encoding="utf-8")
    assert method.count("<math ") > 30
    assert "CSCA reference" in method, "the cost table of the speed page is in it"
    assert not (tmp_path / "hooks").exists()
