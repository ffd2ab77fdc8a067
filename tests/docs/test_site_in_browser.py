"""The site in a browser: phones scroll tables alone, pictures enlarge, pages follow each other, search finds."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.browser import DESKTOP, PHONE, chromium
from support.pages import ROOT

pytestmark = pytest.mark.slow

#: Elements that reach beyond the right edge and are not within something that scrolls.
BEYOND = """() => [...document.querySelectorAll('.md-content *')].filter(node => {
  if (node.getBoundingClientRect().right <= window.innerWidth + 1) return false;
  for (let outer = node; outer !== document.body; outer = outer.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(outer).overflowX)) return false;
  return true;
}).map(node => node.outerHTML.slice(0, 200))"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of the site, and the paths of its pages."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages = [path.parent.relative_to(folder).as_posix() for path in sorted(folder.rglob("index.html"))]
    yield f"http://127.0.0.1:{server.server_port}", pages
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium("--no-sandbox") as found:
        yield found


def test_on_a_phone_nothing_but_tables_and_code_scrolls_sideways(site: tuple[str, list[str]], browser: Any) -> None:
    address, pages = site
    page = browser.new_context(**PHONE).new_page()
    for name in pages:
        page.goto(f"{address}/{name}/")
        page.wait_for_timeout(200)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["viewport"]["width"], name
        assert page.evaluate(BEYOND) == [], name


def test_a_wide_table_shows_that_it_goes_on(site: tuple[str, list[str]], browser: Any) -> None:
    page = browser.new_context(**PHONE).new_page()
    page.goto(f"{site[0]}/understand/table1/")
    wide = page.locator(".md-typeset__scrollwrap").first
    assert wide.evaluate("node => node.scrollWidth > node.clientWidth")
    assert wide.evaluate("node => getComputedStyle(node).backgroundImage").count("linear-gradient") == 4


def test_pictures_enlarge(site: tuple[str, list[str]], browser: Any) -> None:
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(f"{site[0]}/gallery/")
    pictures = page.locator(".md-content img:visible")
    assert pictures.count() >= 8
    assert page.locator(".md-content a.glightbox img:visible").count() == pictures.count()
    pictures.first.click()
    page.wait_for_selector(".glightbox-open .gslide-image img", state="visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_architecture_has_the_colors_of_the_page(site: tuple[str, list[str]], browser: Any, scheme: str) -> None:
    page = browser.new_context(color_scheme=scheme, **DESKTOP).new_page()
    page.goto(f"{site[0]}/")
    shown = page.locator("img[src*=architecture]:visible")
    assert shown.count() == 1
    assert f"architecture-{scheme}.svg" in shown.get_attribute("src")
    assert shown.evaluate("image => image.naturalWidth") > 0


def test_pages_follow_each_other_and_search_finds(site: tuple[str, list[str]], browser: Any) -> None:
    page = browser.new_context(**DESKTOP).new_page()
    page.goto(f"{site[0]}/")
    seen = []
    while page.locator(".md-footer__link--next").count():
        page.locator(".md-footer__link--next").click()
        page.wait_for_load_state()
        seen.append(page.url)
    assert len(set(seen)) == len(site[1]) - 1, "one page after the other, all of them"
    page.locator("input.md-search__input").fill("Hausdorff")
    page.wait_for_selector(".md-search-result__link")
    found = [link.get_attribute("href") for link in page.locator(".md-search-result__link").all()]
    assert any("train/evaluate" in (target or "") for target in found), found
