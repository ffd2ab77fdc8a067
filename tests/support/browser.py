"""A headless Chromium that is installed, and pages opened in it, offline."""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

#: WebGL in software, which is there without a GPU; slow, so what is waited for gets this many seconds.
SOFTWARE = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--allow-file-access-from-files",
)
PATIENCE = 60.0

DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Yield a browser of Playwright's; skip the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed: pages are not opened")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*SOFTWARE, *flags])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page in a browser.

    Args:
        page: Playwright's.
        addresses: of everything that it has asked for.
        failures: why those that failed did, by address.
        complaints: errors and warnings on its console.
    """

    page: Any
    addresses: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def pixels(self, selector: str) -> np.ndarray:
        """Return what is drawn of an element, (rows, columns, 3)."""
        with Image.open(io.BytesIO(self.page.locator(selector).screenshot(timeout=1000 * PATIENCE))) as picture:
            return np.asarray(picture.convert("RGB")).astype(int)

    def count(self, selector: str, kind: Callable[[np.ndarray], np.ndarray]) -> int:
        """Return how many pixels of an element are of a kind."""
        return int(np.count_nonzero(kind(self.pixels(selector))))

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


def opened(browser: Any, path: Path, device: dict[str, Any], script: str = "") -> Opened:
    """Open a page and wait until it shows its images, or says that it cannot.

    Args:
        browser: to open it in.
        path: of the page.
        device: screen and input.
        script: to run before those of the page.
    """
    page = browser.new_context(offline=True, **device).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    there = Opened(page)
    page.on("request", lambda request: there.addresses.append(request.url))
    page.on("requestfailed", lambda request: there.failures.update({request.url: request.failure}))
    page.on("console", lambda message: there.complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: there.complaints.append(str(error)))
    if script:
        page.add_init_script(script)
    page.goto(path.as_uri())
    page.locator("#state[hidden], #state[data-failed]").wait_for(state="attached")
    return there


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; fail if it does not in time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
