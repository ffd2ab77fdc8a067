"""The page in a browser: it draws, follows clicks, keys and touch, and fetches nothing."""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltvs.measurement import measure
from ltvs.measurement.files import Measured
from ltvs.page import write_page
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct, read_mask
from support.browser import DESKTOP, PHONE, Opened, chromium, opened, wait_until
from support.decoded_page import labeled
from support.pictures import blue
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, array, ball, center, image

pytestmark = pytest.mark.slow

AXIAL, CORONAL, SAGITTAL, SOLID = (f'.pane[data-plane="{name}"]' for name in ("axial", "coronal", "sagittal", "solid"))


def yellow(pixels: np.ndarray) -> np.ndarray:
    """Pixels of a tumor: the crosshair is orange."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return (green - blue > 41) & (abs(red - green) < 50)


def brown(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return (red - green > 12) & (red - green < 60) & (green - blue > 8) & (green - blue < 41)


def white(pixels: np.ndarray) -> np.ndarray:
    return pixels.min(axis=-1) > 200


def write(folder: Path, ct, labels, name: str = "a") -> Path:
    path = folder / f"{name}.html"
    write_page(path, ct, labels, Measured(measure(labels), ("Cut off.",)), title="Case <7>")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page"), *labeled())


@pytest.fixture
def desktop(browser: Any, tiny: Path) -> Iterator[Opened]:
    there = opened(browser, tiny, DESKTOP)
    yield there
    assert there.complaints == []
    there.page.context.close()


def place(there: Opened) -> np.ndarray:
    """Return the place that is read under the crosshair, mm, LPS."""
    found = re.match(r"([LR]) ([\d.]+) +([PA]) ([\d.]+) +([IS]) ([\d.]+) mm", there.text("#reading"))
    assert found
    signs = [1 if letter in "LPS" else -1 for letter in found.groups()[::2]]
    return np.array(found.groups()[1::2], float) * signs


def test_it_draws_and_fetches_nothing(desktop: Opened) -> None:
    assert not desktop.page.locator("#state").is_visible()
    assert desktop.text("h1") == "Case <7>"
    for pane in (AXIAL, CORONAL, SAGITTAL, SOLID):
        # The crosshair lies in the tumor; a tenth of the liver's width is some hundred pixels.
        wait_until(lambda pane=pane: desktop.count(pane, yellow) > 500)
    assert desktop.count(SOLID, blue) > 500
    assert {address.split(":")[0] for address in desktop.addresses} <= {"file", "blob", "data"}
    assert sum(address.startswith("file:") for address in desktop.addresses) == 1


def test_the_policy_stops_what_would_fetch(browser: Any, tiny: Path) -> None:
    there = opened(browser, tiny, DESKTOP)
    fetch = "fetch('data:,x').then(() => 'fetched', () => 'refused')"
    assert there.page.evaluate(fetch) == "refused"
    there.page.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://example.invalid/a.png' }))")
    there.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { text: 'window.ran = 1' }))"
    )
    wait_until(lambda: len(there.complaints) >= 3)
    assert all("Content Security Policy" in text for text in there.complaints)
    assert there.page.evaluate("window.ran") is None
    outside = [address for address in there.addresses if address.startswith("http")]
    assert [there.failures[address] for address in outside] == ["csp"]
    there.page.context.close()


@pytest.mark.parametrize(("name", "kind"), [("tumor", yellow), ("vessel", blue)])
def test_a_click_switches_a_structure_off_and_on(desktop: Opened, name: str, kind) -> None:
    switch = desktop.page.locator(f'#structures input[value="{name}"]')
    wait_until(lambda: desktop.count(SOLID, kind) > 500)
    before = desktop.count(AXIAL, kind)
    switch.click()
    wait_until(lambda: desktop.count(SOLID, kind) < 50)
    wait_until(lambda: desktop.count(AXIAL, kind) < before)
    switch.click()
    wait_until(lambda: desktop.count(SOLID, kind) > 500)
    wait_until(lambda: desktop.count(AXIAL, kind) == before)


def test_outlines_leave_the_inside_free(desktop: Opened) -> None:
    before = desktop.count(AXIAL, yellow)
    desktop.page.locator("#outlines").click()
    wait_until(lambda: desktop.count(AXIAL, yellow) != before)


def test_a_tumor_s_row_moves_the_crosshair_into_it(desktop: Opened) -> None:
    (tumor,) = measure(labeled()[1]).tumors
    begun = place(desktop)
    desktop.page.locator(AXIAL).click(position={"x": 260, "y": 60})
    wait_until(lambda: bool(np.abs(place(desktop) - begun).max() > 3))
    desktop.page.get_by_role("button", name="Show tumor 1").click()
    wait_until(lambda: "tumor" in desktop.text("#reading"))
    # The middle of a voxel, shown with one digit.
    assert (np.abs(place(desktop) - tumor.center_mm) <= np.array((1.3, 1.5, 2.0)) / 2 + 0.06).all()
    assert desktop.page.locator('tr[aria-current="true"]').count() == 1


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[27], OBLIQUE[0], OBLIQUE[2]])
def test_the_patient_is_the_right_way_round(browser: Any, direction, tmp_path: Path) -> None:
    """A bright ball at the patient's right, front and head is drawn there, and read there by a click on it."""
    ct, _ = labeled(direction)
    grid = Grid.of(ct)
    bright = np.add(center(grid), (-7.0, -8.0, 9.0))
    hu = np.where(ball(grid, bright, 5.0), 900, array(ct)).astype(np.int16)
    values = np.where(ball(grid, bright, 5.0), 3, 0).astype(np.uint8)
    there = opened(browser, write(tmp_path, image(hu, grid), image(values, grid)), DESKTOP)
    there.page.locator('#structures input[value="tumor"]').click()
    # Right, front and head are left and up in each: on the left of the sagittal slices is the front.
    for selector in (AXIAL, CORONAL, SAGITTAL):
        wait_until(lambda selector=selector: there.count(selector, white) > 1000)
        pixels = white(there.pixels(selector))[30:-40, 30:-30]
        rows, columns = np.nonzero(pixels)
        middle = (np.array(pixels.shape) - 1) / 2
        assert rows.mean() < middle[0]
        assert columns.mean() < middle[1]
        # Off the crosshair, and on the ball.
        box = there.page.locator(selector).bounding_box()
        there.page.mouse.click(box["x"] + 30 + columns.mean() + 4, box["y"] + 30 + rows.mean() + 4)
        wait_until(lambda: "HU" in there.text("#reading"))
        assert np.linalg.norm(place(there) - bright) < 5.0
        assert "900 HU" in there.text("#reading")
    assert there.complaints == []
    there.page.context.close()


def test_keys_wheel_and_sliders_scroll(desktop: Opened) -> None:
    where = desktop.page.locator(f"{AXIAL} .place")
    number, count = map(int, where.inner_text().split(" / "))
    assert count == 21
    pane = desktop.page.locator(AXIAL)
    pane.focus()
    for key, expected in (("ArrowUp", number + 1), ("ArrowDown", number), ("End", 21), ("PageDown", 11), ("Home", 1)):
        desktop.page.keyboard.press(key)
        wait_until(lambda expected=expected: where.inner_text() == f"{expected} / 21")
    pane.hover()
    desktop.page.mouse.wheel(0, -100)
    wait_until(lambda: where.inner_text() == "2 / 21")
    slider = pane.get_by_role("slider", name="Axial slice")
    slider.fill("9")
    wait_until(lambda: where.inner_text() == "10 / 21")
    assert slider.get_attribute("aria-valuetext").startswith("slice 10 of 21, S ")


def test_windows_change_the_gray_of_the_liver(desktop: Opened) -> None:
    desktop.page.locator('#structures input[value="liver"]').click()

    def mean() -> float:
        return float(desktop.pixels(AXIAL).mean())

    before = mean()
    desktop.page.get_by_role("button", name="Liver", exact=True).click()
    wait_until(lambda: desktop.page.locator("#width").input_value() == "180")
    wait_until(lambda: abs(mean() - before) > 2)
    assert desktop.page.locator("#windows button[aria-pressed=true]").inner_text() == "Liver"
    box = desktop.page.locator(AXIAL).bounding_box()
    desktop.page.mouse.move(box["x"] + 100, box["y"] + 100)
    desktop.page.mouse.down(button="right")
    desktop.page.mouse.move(box["x"] + 110, box["y"] + 130)
    desktop.page.mouse.up(button="right")
    # Four HU of width per pixel across, two of level per pixel down, rounded to the steps of the sliders.
    assert desktop.page.locator("#width").input_value() == "220"
    assert desktop.page.locator("#level").input_value() == "150"
    assert desktop.page.locator("#windows button[aria-pressed=true]").count() == 0


def test_zoom_enlarges_the_tumor_about_the_crosshair(desktop: Opened) -> None:
    wait_until(lambda: desktop.count(AXIAL, yellow) > 500)
    before, begun = desktop.count(AXIAL, yellow), place(desktop)
    desktop.page.get_by_role("button", name="Zoom").click()
    box = desktop.page.locator(AXIAL).bounding_box()
    desktop.page.mouse.move(box["x"] + 100, box["y"] + 200)
    desktop.page.mouse.down()
    desktop.page.mouse.move(box["x"] + 100, box["y"] + 100)
    desktop.page.mouse.up()
    wait_until(lambda: desktop.count(AXIAL, yellow) > 1.5 * before)
    np.testing.assert_array_equal(place(desktop), begun)


def test_a_window_of_another_size_is_filled(desktop: Opened) -> None:
    # Narrow enough for one column, in which the four views stand below each other.
    desktop.page.set_viewport_size({"width": 700, "height": 900})
    for pane in (AXIAL, CORONAL, SAGITTAL, SOLID):
        wait_until(lambda pane=pane: desktop.pixels(pane).shape[1] > 650 and desktop.count(pane, yellow) > 500)


def test_the_3d_view_turns(desktop: Opened) -> None:
    before = desktop.pixels(SOLID)
    desktop.page.locator(SOLID).focus()
    desktop.page.keyboard.press("ArrowRight")
    wait_until(lambda: np.count_nonzero((desktop.pixels(SOLID) != before).any(axis=-1)) > 1000)


def test_outlines_of_a_plane_seen_alone_are_those_of_its_slices(browser: Any, tmp_path: Path) -> None:
    """The tumor is a single slice, all of which lies on its surface."""
    where = Grid((30, 29, 28), (4.0, 4.0, 4.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    labels = np.zeros((28, 29, 30), np.uint8)
    labels[4:24, 4:25, 4:26] = 1
    labels[14, 8:20, 9:21] = 3
    ct = image(np.full(labels.shape, 60, np.int16), where)
    there = opened(browser, write(tmp_path, ct, image(labels, where)), PHONE)
    # An outline of a voxel in a square of 12 takes 44 of 144, 31%, and the letters of the sides are yellow, too.
    wait_until(lambda: there.count(AXIAL, yellow) > 500)
    full = there.count(AXIAL, yellow)
    there.page.locator("#outlines").tap()
    wait_until(lambda: there.count(AXIAL, yellow) < 0.6 * full)
    there.page.context.close()


def test_each_view_can_be_seen_alone(desktop: Opened) -> None:
    for name in ("coronal", "sagittal", "solid", "axial"):
        desktop.page.locator(f'#layouts [data-layout="{name}"]').click()
        pane = f'.pane[data-plane="{name}"]'
        wait_until(lambda pane=pane: desktop.page.locator(".pane:visible").count() == 1)
        wait_until(lambda pane=pane: desktop.count(pane, yellow) > 1000)
        assert desktop.page.locator(pane).bounding_box()["width"] > 800


def test_every_control_has_a_name(desktop: Opened) -> None:
    nameless = """() => [...document.querySelectorAll("button, input, [tabindex='0']")].filter((element) =>
        !(element.getAttribute("aria-label") || element.innerText || element.closest("label")?.innerText || "").trim()
    ).map((element) => element.outerHTML)"""
    assert desktop.page.evaluate(nameless) == []


def test_on_a_phone_it_is_one_column(browser: Any, tiny: Path) -> None:
    there = opened(browser, tiny, PHONE)
    assert there.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert there.page.locator(".pane:visible").count() == 1
    boxes = [there.page.locator(selector).bounding_box() for selector in ("#layouts", AXIAL, "#reading", ".results")]
    assert all(a["y"] + a["height"] <= b["y"] for a, b in pairwise(boxes))
    wait_until(lambda: there.count(AXIAL, yellow) > 500)
    begun = place(there)
    there.page.touchscreen.tap(boxes[1]["x"] + 250, boxes[1]["y"] + 180)
    wait_until(lambda: bool(np.abs(place(there) - begun).max() > 1))
    there.page.get_by_role("button", name="3D", exact=True).tap()
    wait_until(lambda: there.count(SOLID, yellow) > 500)
    assert there.complaints == []
    there.page.context.close()


def test_without_labels_there_are_slices(browser: Any, tmp_path: Path) -> None:
    ct, labels = labeled()
    there = opened(browser, write(tmp_path, ct, labels * 0), DESKTOP)
    wait_until(lambda: len(np.unique(there.pixels(AXIAL))) > 10)
    assert "no label" in there.text("#reading")
    assert there.complaints == []
    there.page.context.close()


def test_a_real_ct(browser: Any, tmp_path: Path) -> None:
    folder = os.environ.get("CROSSATTN3D_TEST_DATA")
    if folder is None:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    ct = read_ct(Path(folder) / "chaos-ct.nii.gz")
    path = write(tmp_path, ct, Grid.of(ct).place(read_mask(Path(folder) / "chaos-liver.nii.gz")))
    assert path.stat().st_size < 20_000_000
    there = opened(browser, path, DESKTOP)
    # The right lobe, with the crosshair amid it, is drawn on the left, over the CT and in 3D.
    for pane, least in ((AXIAL, 5000), (CORONAL, 5000), (SOLID, 2000)):
        wait_until(lambda pane=pane, least=least: there.count(pane, brown) > least)
        pixels = brown(there.pixels(pane))
        assert np.nonzero(pixels)[1].mean() < pixels.shape[1] / 2
    assert there.text("#reading").endswith("HU · liver")
    assert there.complaints == []
    there.page.context.close()


@pytest.mark.parametrize("lacks", ["WebGL 2", "DecompressionStream"])
def test_a_browser_that_cannot_draw_says_so(browser: Any, tiny: Path, lacks: str) -> None:
    script = {
        "WebGL 2": "HTMLCanvasElement.prototype.getContext = () => null",
        "DecompressionStream": "delete window.DecompressionStream",
    }[lacks]
    there = opened(browser, tiny, DESKTOP, script)
    assert there.text("#state").startswith(f"This browser lacks {lacks}, so no images can be shown.")
    assert "Case <7>" in there.text("h1")
    assert there.page.get_by_text("Cut off.").is_visible()
    there.page.context.close()


def test_without_scripts_it_says_that_it_needs_them(browser: Any, tiny: Path) -> None:
    page = browser.new_context(offline=True, java_script_enabled=False, **DESKTOP).new_page()
    page.goto(tiny.as_uri())
    assert "needs JavaScript" in page.locator("#panes").inner_text()
    assert page.get_by_text("Cut off.").is_visible()
    page.context.close()


def test_long_titles_and_doubts_leave_room_for_images(browser: Any, tmp_path: Path) -> None:
    ct, labels = labeled()
    path = tmp_path / "a.html"
    write_page(path, ct, labels, Measured(measure(labels), ("x" * 10_000,)), title="y" * 10_000, origin="z z" * 10)
    for device in (DESKTOP, PHONE):
        there = opened(browser, path, device)
        height = there.page.viewport_size["height"]
        assert there.page.locator("header").bounding_box()["height"] < height / 4
        assert there.page.locator(AXIAL).bounding_box()["y"] < height
        assert there.page.evaluate("document.scrollingElement.scrollWidth") <= there.page.viewport_size["width"]
        there.page.context.close()
