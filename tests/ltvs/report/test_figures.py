"""Pictures: labels are drawn where they are, the patient the right way round, whatever the grid; never half a file."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, binary_erosion

from ltvs.report.figures import GAP, LINE, PANEL, draw_report
from ltvs.report.rendering import AZIMUTH, ELEVATION, render
from ltvs.report.slices import VIEWS, View, field_of_view, find_crossing, upright
from ltvs.runtime.errors import InputError
from ltvs.volume.grids import Grid
from ltvs.volume.labels import LIVER, TUMOR, VESSEL
from support.pictures import blue, full_disk, picture, yellow
from support.tiny_cases import OBLIQUE, image, points

SPACING = (3.0, 4.0, 7.0)
SIZE = (60, 40, 19)
UPRIGHT = Grid(SIZE, SPACING, (-70.0, 20.0, -300.0), tuple(np.eye(3).ravel().tolist()))


def boxes(where: Grid, **sides: tuple[tuple[float, float], ...]) -> sitk.Image:
    """Labels in boxes, each given by (lowest, highest) mm along x, y, z from the middle of the grid."""
    labels = np.zeros(where.size[::-1], dtype=np.uint8)
    offsets = points(where) - where.physical((np.array(where.size) - 1) / 2)
    for name, limits in sides.items():
        low, high = np.transpose(limits)
        labels[np.all((offsets >= low) & (offsets <= high), axis=-1)] = {"l": LIVER, "v": VESSEL, "t": TUMOR}[name[0]]
    return image(labels, where)


def patient(where: Grid = UPRIGHT) -> tuple[sitk.Image, sitk.Image]:
    """CT and labels: a tumor at the right, front and top of a liver, a vessel at the left, back and bottom."""
    labels = boxes(
        where,
        liver=((-55, 50), (-40, 50), (-50, 45)),
        vessel=((0, 40), (-30, 40), (-45, 0)),
        tumor=((-50, -15), (-35, 5), (0, 40)),
    )
    hu = np.random.default_rng(0).integers(-60, 140, where.size[::-1]).astype(np.int16)
    return image(hu, where), labels


def turned(volume: sitk.Image, order: tuple[int, ...], signs: tuple[int, ...]) -> sitk.Image:
    """The same voxels at the same places, stored along other axes."""
    grid, size = Grid.of(volume), np.array(volume.GetSize())
    array = (
        sitk.GetArrayFromImage(volume).transpose(2, 1, 0).transpose(order)[tuple(slice(None, None, s) for s in signs)]
    )
    first = np.zeros(3)
    first[list(order)] = np.where(np.array(signs) < 0, size[list(order)] - 1, 0)
    direction = np.reshape(grid.direction, (3, 3))[:, list(order)] * signs
    spacing = tuple(np.array(grid.spacing)[list(order)].tolist())
    turned_grid = Grid(array.shape, spacing, tuple(grid.physical(first).tolist()), tuple(direction.ravel().tolist()))
    return image(np.ascontiguousarray(array.transpose(2, 1, 0)), turned_grid)


def panel(pixels: np.ndarray, column: int) -> np.ndarray:
    """A panel of a picture with one row and no title."""
    left = GAP + column * (PANEL + GAP)
    return pixels[LINE : LINE + PANEL, left : left + PANEL]


def near_marks() -> np.ndarray:
    """Return the pixels of a panel that show letters or the scale bar."""
    y, x = np.mgrid[:PANEL, :PANEL] / PANEL
    return (np.minimum(x, 1 - x) < 0.08) | (np.minimum(y, 1 - y) < 0.08) | ((x < 0.5) & (y > 0.85))


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The picture of the patient."""
    path = tmp_path_factory.mktemp("patient") / "a.png"
    draw_report(*patient(), path)
    return picture(path)


def in_view(volume: sitk.Image, view: View, center: np.ndarray, side: float, index: tuple[int, ...]) -> np.ndarray:
    """Return the voxel of an upright volume under each pixel of a panel; 0 outside of it."""
    values = np.take(
        sitk.GetArrayFromImage(volume).transpose(2, 1, 0), index[3 - sum(view.axes)], axis=3 - sum(view.axes)
    )
    offset = ((np.arange(PANEL) + 0.5) / PANEL - 0.5) * side
    along = [
        center[axis] + o for axis, o in zip(view.axes, (offset, offset if view.downwards else -offset), strict=True)
    ]
    i, j = (np.round(mm / SPACING[axis]).astype(int) + 1 for mm, axis in zip(along, view.axes, strict=True))
    padded = np.pad(values, 1)
    return padded[np.clip(i, 0, padded.shape[0] - 1)[None], np.clip(j, 0, padded.shape[1] - 1)[:, None]]


def test_colors_are_where_the_labels_are_and_nowhere_else(pixels: np.ndarray) -> None:
    ct, labels = (upright(volume) for volume in patient())
    center, side = field_of_view(ct, [labels])
    for column, view in enumerate(VIEWS):
        shown, expected = panel(pixels, column), in_view(labels, view, center, side, find_crossing([labels]))
        for label, colored in ((VESSEL, blue(shown)), (TUMOR, yellow(shown))):
            # The outline is 2 pixels wide. It cuts corners: at 5 pixels from both edges, for the voxels here, no more.
            assert colored[binary_erosion(expected == label, iterations=5)].all()
            assert not colored[~binary_dilation(expected == label, iterations=3)].any()
        assert (expected == TUMOR).sum() > 1000


def test_the_ct_is_where_its_voxels_are_in_its_window(tmp_path: Path) -> None:
    _, labels = (upright(volume) for volume in patient())
    ct = sitk.Cast(labels == TUMOR, sitk.sitkInt16) * 320 - 120  # -120 and 200 HU: 40 from either end of the window
    draw_report(ct, labels * 0, tmp_path / "a.png")
    center, side = field_of_view(ct, [labels * 0])
    for column, view in enumerate(VIEWS):
        shown = panel(picture(tmp_path / "a.png"), column)[..., 0]
        bright = in_view(labels == TUMOR, view, center, side, tuple(n // 2 for n in SIZE)) == 1
        inside = in_view(labels * 0 + 1, view, center, side, (0, 0, 0)) == 1
        # Between two voxels the gray changes over 3 to 7 mm, 7 to 16 pixels, its half at their common edge.
        assert not ((shown > 127) & ~binary_dilation(bright, iterations=3)).any(where=~near_marks())
        assert (shown > 127)[binary_erosion(bright, iterations=5)].all()
        gray = np.abs(shown - 40 / 400 * 255) <= 1
        assert gray[inside & ~binary_dilation(bright, iterations=20) & ~near_marks()].mean() > 0.99


def test_the_right_of_the_patient_is_on_the_left(pixels: np.ndarray) -> None:
    for column in range(4):
        rows, columns = np.nonzero(yellow(panel(pixels, column)))
        assert columns.mean() < 0.45 * PANEL  # of the sagittal view: the front
        assert rows.mean() < 0.45 * PANEL


@pytest.mark.parametrize(
    ("order", "signs"),
    [c for k, c in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))) if k % 17 == 5],
)
def test_the_picture_is_that_of_the_patient_not_of_the_array(
    tmp_path: Path, pixels: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    ct, labels = (turned(volume, order, signs) for volume in patient())
    draw_report(ct, labels, tmp_path / "a.png")
    np.testing.assert_array_equal(picture(tmp_path / "a.png"), pixels)


def test_an_oblique_ct_is_shown_along_its_own_axes(tmp_path: Path, pixels: np.ndarray) -> None:
    order, signs = (1, 2, 0), (1, -1, -1)
    ct, labels = (turned(volume, order, signs) for volume in patient())
    tilted = OBLIQUE[0] @ np.reshape(ct.GetDirection(), (3, 3))
    for volume in (ct, labels):
        volume.SetDirection(tilted.ravel().tolist())
    draw_report(ct, labels, tmp_path / "a.png")
    np.testing.assert_array_equal(picture(tmp_path / "a.png"), pixels)


def test_a_reference_gets_a_row_at_the_same_place_and_nothing_given_is_changed(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    ct, labels = patient()
    ct, labels = (turned(volume, (1, 0, 2), (1, -1, 1)) for volume in (ct, labels))
    before = Grid.of(ct), Grid.of(labels), sitk.GetArrayFromImage(labels)
    draw_report(ct, labels * 0, tmp_path / "a.png", reference=labels, title="A title")
    both, one = picture(tmp_path / "a.png"), pixels
    assert (Grid.of(ct), Grid.of(labels)) == before[:2]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), before[2])
    assert 1600 <= one.shape[1] < both.shape[1] <= 2000
    assert one.shape[0] + PANEL <= both.shape[0] <= one.shape[0] + 1.2 * PANEL
    assert (tmp_path / "a.png").stat().st_size < 1.5e6
    left, top = both.shape[1] - 4 * (PANEL + GAP), 2 * LINE
    upper, lower = (both[y : y + PANEL, left : left + PANEL] for y in (top, top + PANEL + GAP))
    assert not yellow(upper).any()
    # The same above the scale bar, but for rounding of where the panel begins.
    assert np.abs(lower - panel(one, 0))[: int(0.85 * PANEL)].mean() < 1


NOTHING = boxes(UPRIGHT)


@pytest.mark.parametrize(
    "sides",
    [
        {},
        {"vessel": ((0, 30), (0, 9), (0, 20)), "tumor": ((-50, -15), (-35, 5), (0, 40))},
        {"liver": ((0, 30), (0, 9), (0, 20))},
        {"tumor": ((0, 2), (-1, 3), (-1, 1))},
    ],
    ids=["nothing", "no liver", "only liver", "one voxel"],
)
def test_labels_of_every_kind_are_drawn(tmp_path: Path, sides: dict[str, tuple[tuple[float, float], ...]]) -> None:
    draw_report(patient()[0], boxes(UPRIGHT, **sides), tmp_path / "a.png")
    for column in range(4):
        assert yellow(panel(picture(tmp_path / "a.png"), column)).any() == ("tumor" in sides)


def test_labels_that_fill_the_ct_are_drawn(tmp_path: Path) -> None:
    where = Grid((9, 8, 7), (2.0, 2.5, 3.0), (0.0, 0.0, 0.0), UPRIGHT.direction)
    everything = boxes(where, tumor=((-99, 99),) * 3)
    draw_report(image(np.zeros((7, 8, 9), dtype=np.int16), where), everything, tmp_path / "a.png")
    # The 18 mm of the rows fill 18 of 21 mm, 20 mm of columns do 20 of 21.
    assert yellow(panel(picture(tmp_path / "a.png"), 0)).mean() == pytest.approx(18 / 21 * 20 / 21, abs=0.05)


@pytest.mark.parametrize("axis", range(3))
def test_one_slice_is_drawn(tmp_path: Path, axis: int) -> None:
    ct, labels = patient()
    start, size = [0, 0, 0], list(SIZE)
    start[axis], size[axis] = (36, 24, 7)[axis], 1
    ct, labels = (sitk.RegionOfInterest(volume, size, start) for volume in (ct, labels))
    draw_report(ct, labels, tmp_path / "a.png")
    assert blue(panel(picture(tmp_path / "a.png"), (2, 1, 0)[axis])).sum() > 1000


def test_slices_meet_in_the_largest_tumor_else_where_most_vessel_is_else_in_the_liver() -> None:
    liver = {"liver": ((-55, 50), (-40, 50), (-50, 45))}
    vessel = {"vessel": ((30, 34), (-30, 40), (-45, 0)), "v2": ((-20, 45), (20, 24), (-33, -30))}
    # A crescent, larger than the box beside it; its centroid lies outside of it.
    tumor = {
        "t1": ((-50, -15), (-35, 30), (0, 40)),
        "liver2": ((-50, -24), (-25, 20), (0, 40)),
        "t3": ((20, 40), (0, 30), (10, 40)),
    }
    everything = boxes(UPRIGHT, **liver, **vessel, **tumor)
    x, y, z = find_crossing([everything])
    assert everything[x, y, z] == TUMOR
    offset = np.subtract(
        everything.TransformIndexToPhysicalPoint((x, y, z)), UPRIGHT.physical((np.array(SIZE) - 1) / 2)
    )
    assert np.all(np.abs(offset - (-19, 0, 17.5)) <= (5, 12, 4))
    no_tumor = boxes(UPRIGHT, **liver, **vessel)
    values = sitk.GetArrayFromImage(no_tumor) == VESSEL
    x, y, z = find_crossing([no_tumor])
    assert [values[z].sum(), values[:, y].sum(), values[:, :, x].sum()] == [
        values.sum(axis=axes).max() for axes in ((1, 2), (0, 2), (0, 1))
    ]
    x, y, z = find_crossing([boxes(UPRIGHT, **liver)])
    offset = np.subtract(NOTHING.TransformIndexToPhysicalPoint((x, y, z)), UPRIGHT.physical((np.array(SIZE) - 1) / 2))
    assert np.all(np.abs(offset - (-2.5, 5, -2.5)) <= SPACING)
    assert find_crossing([NOTHING]) == tuple(n // 2 for n in SIZE)
    assert find_crossing([no_tumor, everything]) == find_crossing([everything])
    assert find_crossing([NOTHING, no_tumor]) == find_crossing([no_tumor, NOTHING]) == find_crossing([no_tumor])


def test_without_labels_the_body_fills_the_picture() -> None:
    hu = np.full(SIZE[::-1], -1000, dtype=np.int16)
    hu[:, 5:35, 10:40] = 0
    center, side = field_of_view(image(hu, UPRIGHT), [NOTHING])
    assert side == pytest.approx(30 * 4)
    # As near to the body's middle as the 160 mm of rows and 133 mm of slices allow.
    np.testing.assert_allclose(center, (24.5 * 3, 19.5 * 4, 9 * 7))


def test_in_3d_things_are_where_they_are_and_hide_what_is_behind() -> None:
    tumor = boxes(UPRIGHT, tumor=((-50, -20), (0, 20), (10, 40)))
    center, side, pixels = np.array(SPACING) * (np.array(SIZE) - 1) / 2, 200.0, 200
    rows, columns = np.nonzero(yellow(render(upright(tumor), center, side, pixels).astype(int)))
    elevation, azimuth = np.radians((ELEVATION, AZIMUTH))
    right = np.array((-np.sin(azimuth), np.cos(azimuth), 0))
    up = np.array((-np.sin(elevation) * np.cos(azimuth), -np.sin(elevation) * np.sin(azimuth), np.cos(elevation)))
    box = np.argwhere(sitk.GetArrayFromImage(tumor) == TUMOR)[:, ::-1] * SPACING - center
    low, high = box.min(axis=0) - np.array(SPACING) / 2, box.max(axis=0) + np.array(SPACING) / 2
    corners = np.array(list(product(*zip(low, high, strict=True))))
    for found, axis in ((columns + 0.5 - pixels / 2, right), (pixels / 2 - rows - 0.5, up)):
        # 1 mm is 1 pixel; smoothing rounds the corners of the box by less than half a voxel's diagonal.
        assert abs((found.min() + found.max()) / 2 - ((low + high) / 2) @ axis) < 1.5
        assert 0 <= np.ptp(corners @ axis) - np.ptp(found) < np.linalg.norm(SPACING)
    # From a little to the left of the patient and above: what is behind appears further right and up.
    in_front, behind = ((-50, -20), (-40, -20), (10, 40)), ((-44, -34), (10, 30), (13, 15))
    shown = render(upright(boxes(UPRIGHT, tumor=in_front, vessel=behind)), center, side, pixels).astype(int)
    assert yellow(shown).sum() > 500
    assert blue(shown).sum() < 5
    assert np.all(shown[:3] == 255)


def test_glass_lets_vessels_shine_through() -> None:
    vessel = {"vessel": ((0, 12), (0, 20), (-20, 20))}
    center = np.array(SPACING) * (np.array(SIZE) - 1) / 2
    alone, inside = (
        render(upright(boxes(UPRIGHT, **sides)), center, 200.0, 200).astype(int)
        for sides in (vessel, {"liver": ((-50, 50), (-40, 40), (-40, 40)), **vessel})
    )
    assert blue(inside).sum() > 0.9 * blue(alone).sum()
    assert (inside[..., 0] < 250).sum() > 3 * (alone[..., 0] < 250).sum()


def test_speckle_is_drawn_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltvs.report.rendering._MOST_VERTICES", 2000)
    speckle = np.random.default_rng(0).integers(0, 4, SIZE[::-1]).astype(np.uint8)
    assert render(upright(image(speckle, UPRIGHT)), (90.0, 80.0, 63.0), 200.0, 60).min() < 200


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    ct, labels = patient()
    with pytest.raises(InputError, match=r"prediction \(60, 40, 18\) does not lie on the CT's grid \(60, 40, 19\)"):
        draw_report(ct, labels[:, :, 1:], tmp_path / "a.png")
    with pytest.raises(InputError, match=r"reference \(60, 40, 19\) does not lie on the CT's grid"):
        draw_report(
            ct,
            labels,
            tmp_path / "a.png",
            reference=turned(turned(labels, (0, 1, 2), (-1, 1, 1)), (0, 1, 2), (1, -1, 1)),
        )
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch)
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(InputError, match=r"a\.png: cannot be written \(No space left on device\)"):
        draw_report(*patient(), tmp_path / "a.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.png", b"old")]
