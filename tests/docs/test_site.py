"""The documentation as a site: it needs no network, and its formulas are drawn by the browser itself."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.docs_scripts import docs_script

ROOT = Path(__file__).parents[2]
#: What a browser fetches by itself: scripts, styles, fonts, pictures; links that a reader follows are none of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//
    |<link[^>]*rel=["']?(?:stylesheet|preconnect|preload|icon)[^>]*href=["']?(?:https?:)?//
    |url\(["']?(?:https?:)?//
    |@import""",
    re.VERBOSE,
)


def test_formulas_become_mathml() -> None:
    pytest.importorskip("latex2mathml")
    page = (
        '<p>With <span class="arithmatex">\\(a &lt; b\\)</span>, <code>\\(c\\)</code>:</p>'
        '<div class="arithmatex">\\[\nW_q U\n\\]</div>'
    )
    made = docs_script("hooks/mathml").on_page_content(page, page=None)
    assert "arithmatex" not in made
    assert re.search(r'<span class="formula"><math [^>]*display="inline">.*&#x0003C;.*</math></span>', made)
    assert re.search(r'<div class="formula"><math [^>]*display="block">.*<msub>.*</math></div>', made)
    assert "<code>\\(c\\)</code>" in made, "code stays as it is"


#: Styles, scripts and pictures that a page takes from the site itself.
OWN = re.compile(
    r"""<(?:script|img)[^>]*\ssrc=["']?([^"'\s>]+)|<link[^>]*rel=["']?(?:stylesheet|icon)[^>]*href=["']?([^"'\s>]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_a_browser_finds_all_that_it_fetches_and_nothing_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for path in [*pages, *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        found = FETCHED.search(text)
        assert not found, (path.name, text[found.start() - 50 : found.end() + 80])
        assert path.suffix == ".css" or "arithmatex" not in text, path
        own = ["".join(groups) for groups in OWN.findall(text)]
        assert own or path.suffix == ".css"
        for target in own:
            file = target.partition("#")[0]  # as #only-light of a picture
            place = site / file.lstrip("/") if file.startswith("/") else path.parent / file
            assert target.startswith("data:") or place.is_file(), (path.name, target)
    method = (site / "understand" / "method" / "index.html").read_text(encoding="utf-8")
    assert method.count("<math ") > 30
    assert "CSCA reference" in method, "the cost table of the speed page is in it"
    tutorial = (site / "tutorial" / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img [^>]*src="\.\./tutorial-[\w-]+\.png"', tutorial)) == 3, "the notebook's pictures"
    assert not (site / "hooks").exists()


def reference(site: Path, page: str) -> str:
    """Return a reference page in one line, without the colors of its code and with plain quotes."""
    text = (site / "reference" / page / "index.html").read_text(encoding="utf-8")
    return html.unescape(" ".join(re.sub(r"</?span[^>]*>", "", text).split()))


#: Name, type and default of an argument in a table.
ROW = r"<td> <code>{}</code> </td> <td> <code>{}</code> </td> <td>(?:(?!</td>).)+</td> <td> <code>{}</code> </td>"
SCORE_NORM = r'<a [^>]*href="[^"]*#crossattn3d\.functional\.ScoreNorm">ScoreNorm</a>'
TENSOR = r'<a [^>]*href="https://docs\.pytorch\.org/[^"]*#torch\.Tensor">Tensor</a>'


@pytest.mark.slow
@pytest.mark.parametrize("page", ["attention", "networks", "functional", "dropin"])
def test_reference_pages_have_signatures_with_links_and_rows_with_defaults(site: Path, page: str) -> None:
    text = reference(site, page)
    assert re.search(rf"score_norm: {SCORE_NORM} = \"instance\",", text)
    assert re.search(ROW.format("score_norm", SCORE_NORM, "'instance'"), text)
    assert re.search(rf">Float</a>\[{TENSOR}, \"b c", text), "a shape is a string"


@pytest.mark.slow
def test_options_that_a_class_passes_on_have_the_defaults_of_its_base(site: Path) -> None:
    text = reference(site, "networks")
    assert len(re.findall(r'upsample: <a [^>]*>Upsample</a> = "transposed",', text)) == 2
    assert "= ...," not in text


@pytest.mark.slow
def test_reference_pages_link_to_the_pages_that_docstrings_name(site: Path) -> None:
    assert '<a href="../../understand/choices/">docs/understand/choices.md</a>' in reference(site, "attention")
