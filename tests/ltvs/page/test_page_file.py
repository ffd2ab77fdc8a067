"""The page as a file: whole, small enough, without a way to run or fetch anything that is not its own."""

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.measurement import measure
from ltvs.measurement.files import Measured
from ltvs.page import page_file, write_page
from ltvs.page.niivue import installed_viewer
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.labels import COLORS
from support.decoded_page import LPS, Page, labeled
from support.tiny_cases import OBLIQUE, SIGNED_PERMUTATIONS, array, image

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{data}}"


def write(
    path: Path, ct: sitk.Image, labels: sitk.Image, doubts: tuple[str, ...] = (), title: str = "", origin: str = ""
) -> Page:
    write_page(path, ct, labels, Measured(measure(labels), doubts), title=title, origin=origin)
    return Page(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write(tmp_path_factory.mktemp("page") / "a.html", *labeled(), ("Large.", "Cut off."), "Case 7")


def test_a_page_says_what_it_shows(page: Page) -> None:
    assert page.text.count("Case 7") == 2  # in the tab and as the heading
    for words in ("Not a medical device", "Check these labels", "Large.", "Cut off.", "Volumes", "Tumors", "NiiVue"):
        assert words in page.text
    assert installed_viewer().license in page.text
    assert page.content("viewer").decode() == installed_viewer().module


def test_a_page_says_where_the_networks_come_from(page: Page, tmp_path: Path) -> None:
    assert "Networks" not in page.text
    told = write(tmp_path / "a.html", *labeled(), origin="trained on <mice> & men")
    assert "Networks: trained on <mice> & men" in told.text


def test_volumes_and_tumors_are_the_measured_ones(page: Page) -> None:
    measured = measure(labeled()[1])
    (tumor,) = measured.tumors
    text = page.text
    # The liver of the tiny case has 5 to 6 ml, the vessel and the tumor below 1.
    for volume, digits in ((measured.liver_ml, 1), (measured.vessels_ml, 2), (measured.tumors_ml, 2)):
        assert f"{volume:.{digits}f}" in text
    assert f"{tumor.longest_axial_diameter_mm:.1f} × {tumor.perpendicular_diameter_mm:.1f}" in text
    assert f"{100 * tumor.share_of_surface_near_vessel:.0f}%" in text
    (center,) = (names["data-center"] for _, names in page.attributes if "data-center" in names)
    np.testing.assert_allclose(np.array(center.split(), float) * (-1, -1, 1), tumor.center_mm, atol=0.005)


@pytest.mark.parametrize("direction", [SIGNED_PERMUTATIONS[0], SIGNED_PERMUTATIONS[13], *OBLIQUE])
def test_crosshair_and_slices(direction, tmp_path: Path) -> None:
    ct, labels = labeled(direction)
    settings = write(tmp_path / "a.html", ct, labels).settings()
    start = (LPS @ (*settings["start"], 1))[:3]
    assert labels[labels.TransformPhysicalPointToIndex(start.tolist())] == 3
    corners = Grid.of(ct).corners() * (-1, -1, 1)
    for axis, limits in enumerate(settings["axes"]):
        last = limits["first"] + limits["step"] * (limits["count"] - 1)
        assert limits["first"] == pytest.approx(corners[:, axis].min())
        assert corners[:, axis].max() - limits["step"] < last <= corners[:, axis].max() + 1e-6
    if direction is SIGNED_PERMUTATIONS[0]:
        assert [limits["count"] for limits in settings["axes"]] == list(ct.GetSize())


def test_a_tumor_of_one_small_voxel_does_not_read_as_nothing(tmp_path: Path) -> None:
    ct, labels = labeled()
    values = array(labels)
    values[values == 3] = 1
    places = np.argwhere(values == 1)
    values[tuple(places[len(places) // 2])] = 3
    small, large = (image(of, Grid.of(ct)) for of in (values, array(ct)))
    for one in (small, large):
        one.SetSpacing((0.6, 0.7, 0.8))
    text = write(tmp_path / "a.html", large, small).text
    assert text.count("< 0.01") == 2  # of the structure and of the tumor, whose 0.0003 ml would round to 0.00
    assert "0.00" not in text


def test_thousands_of_specks_are_not_all_listed(tmp_path: Path) -> None:
    labels = np.ones((14, 15, 16), np.uint8)
    labels[::2, ::2, ::2] = 3  # 7 x 8 x 8 specks
    labels[0, 0, 0:3] = 3  # two become one, the largest
    where = Grid((16, 15, 14), (3.0, 3.0, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    page = write(tmp_path / "a.html", image(np.zeros(labels.shape, np.int16), where), image(labels, where))
    assert [one["aria-label"] for _, one in page.attributes if "data-center" in one] == [
        f"Show tumor {number}" for number in range(1, 101)
    ]
    assert "These are the 100 largest of 447 tumors." in page.text


def test_structures_have_the_colors_of_every_picture(page: Page) -> None:
    settings = page.settings()
    for one in [*settings["structures"], *settings["surfaces"]]:
        np.testing.assert_allclose(np.divide(one["color"], 255), COLORS[one["name"]], atol=0.5 / 255)
    assert [one["name"] for one in settings["surfaces"]] == ["vessel", "tumor", "liver"]  # the transparent one last
    assert [one["value"] for one in settings["structures"]] == [1, 2, 3]


def test_nothing_can_be_fetched_or_run_but_the_page_s_own_script(page: Page) -> None:
    (policy,) = (names["content"] for tag, names in page.attributes if "http-equiv" in names and tag == "meta")
    digest = base64.b64encode(hashlib.sha256(page.scripts["module"].encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"script-src 'sha256-{digest}' blob:"]
    # Neither of these is more than images and styles of the page itself.
    assert {part.split()[0] for part in policy.split("; ")[2:]} == {"style-src", "img-src", "base-uri", "form-action"}
    assert "http" not in policy.replace("http-equiv", "")
    addresses = [names[key] for _, names in page.attributes for key in ("src", "href", "action") if key in names]
    assert addresses == ["data:,"]
    for name in ("module", "style", "settings"):
        assert not re.search(r"https?:|//\w+\.\w|localStorage|\bfetch\(", page.scripts[name])


def test_what_comes_from_outside_stays_text(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.html", *labeled(), ("a",), "b", "c")
    page = write(tmp_path / "b.html", *labeled(), (HOSTILE,), HOSTILE, HOSTILE)
    assert page.text.count(HOSTILE) == 4
    assert page.attributes == plain.attributes
    assert page.scripts == plain.scripts


@pytest.mark.parametrize("name", ["no tumors", "no vessels", "nothing"])
def test_structures_may_be_missing(name: str, tmp_path: Path) -> None:
    ct, labels = labeled()
    values = array(labels)
    values[values == {"no tumors": 3, "no vessels": 2}.get(name, 1)] = 1
    labels = image(values * (name != "nothing"), Grid.of(ct))
    page = write(tmp_path / "a.html", ct, labels)
    there = {"no tumors": {"liver", "vessel"}, "no vessels": {"liver", "tumor"}, "nothing": set()}[name]
    assert {one["name"] for one in page.settings()["surfaces"]} == there
    assert {
        names["value"] for tag, names in page.attributes if tag == "input" and "value" in names and "id" not in names
    } == there
    assert ("None labeled." in page.text) == ("tumor" not in there)
    assert page.text.count("none labeled") == 3 - len(there)
    assert "Check these labels" not in page.text
    start = (LPS @ (*page.settings()["start"], 1))[:3]
    assert labels[labels.TransformPhysicalPointToIndex(start.tolist())] == {"no tumors": 1, "no vessels": 3}.get(
        name, 0
    )


def test_a_page_that_would_be_too_large_is_made_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ct, labels = labeled()
    noise = np.random.default_rng(0).integers(-1000, 3000, array(ct).shape).astype(np.int16)
    whole = write(tmp_path / "a.html", image(noise, Grid.of(ct)), labels)
    size = whole.path.stat().st_size
    monkeypatch.setattr(page_file, "MOST_VOXELS", noise.size)
    said = []
    # Coarser HU save a twelfth of such noise, 1,200 bytes; what is more takes larger voxels.
    for largest in (size, size - 100, size - 15_000):
        monkeypatch.setattr(page_file, "LARGEST", largest)
        coarse = write(tmp_path / "b.html", image(noise, Grid.of(ct)), labels)
        assert coarse.path.stat().st_size <= largest
        said += re.findall(r"show the CT|mean of [\d x]+ voxels|steps of \d", coarse.text)
    assert said[:4] == ["show the CT", "steps of 2", "show the CT", "steps of 4"]
    assert said[4].startswith("mean of 2")


def test_what_does_not_depend_on_steps_of_hu_is_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ct, labels = labeled()
    noise = np.random.default_rng(0).integers(-1000, 3000, array(ct).shape).astype(np.int16)
    size = write(tmp_path / "a.html", image(noise, Grid.of(ct)), labels).path.stat().st_size
    packed, element = [], page_file._element
    monkeypatch.setattr(page_file, "_element", lambda name, content: packed.append(name) or element(name, content))
    monkeypatch.setattr(page_file, "LARGEST", size - 100)
    write(tmp_path / "b.html", image(noise, Grid.of(ct)), labels)
    assert sorted(packed) == ["ct", "ct", "labels", "liver", "tumor", "vessel", "viewer"]


@pytest.mark.slow
@pytest.mark.parametrize(("slices", "apart", "blocks"), [(200, 1.0, "2 x 2 x 1"), (1000, 0.5, "2 x 2 x 2")])
def test_a_large_ct_stays_below_20_megabytes(slices: int, apart: float, blocks: str, tmp_path: Path) -> None:
    """A body as noisy as thin slices are (30 HU), half of the field of view, in air."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    body = np.hypot((x - 256) / 220, (y - 256) / 190) < 1
    hu = np.empty((slices, 512, 512), np.int16)
    for one in hu:
        one[:] = rng.normal(np.where(body, 60.0, -1000.0), 30.0)
    grid = Grid((512, 512, slices), (0.7, 0.7, apart), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    values = np.zeros(hu.shape, np.uint8)
    values[slices // 2 - 90 : slices // 2 + 90, 200:300, 100:300] = 1
    values[slices // 2 - 9 : slices // 2 + 9, 240:260, 140:160] = 3
    page = write(tmp_path / "a.html", image(hu, grid), image(values, grid))
    assert page.path.stat().st_size <= 20_000_000
    assert f"means of {blocks} voxels" in page.text
    assert ("are left out" in page.text) == (slices == 1000)


def test_the_same_case_gives_the_same_page(page: Page, tmp_path: Path) -> None:
    write(tmp_path / "b.html", *labeled(), ("Large.", "Cut off."), "Case 7")
    assert (tmp_path / "b.html").read_bytes() == page.path.read_bytes()


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    ct, labels = labeled()
    labels.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"a\.html: expected labels on the CT's grid, got 28 x 25 x 21 voxels that"):
        write(tmp_path / "a.html", ct, labels)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_without_the_viewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise InputError("no viewer")

    monkeypatch.setattr(page_file, "installed_viewer", missing)
    with pytest.raises(InputError, match="no viewer"):
        write(tmp_path / "a.html", *labeled())
    assert not list(tmp_path.iterdir())
