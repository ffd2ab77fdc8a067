"""Maps on disk and scenes rendered from them: the same bytes for the same numbers, in the shape that was drawn."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from ltvs.anatomy.tissues import LIVER_TISSUES, Tissue
from ltvs.phantom import scenes
from ltvs.phantom.contrast import Contrast, draw_cohort_contrast
from ltvs.phantom.deformation import STILL, Deformation
from ltvs.phantom.maps import MappedPatient, TissueMap, open_maps
from ltvs.phantom.parts import Part
from ltvs.phantom.scenes import Scene, part_of_liver, whole_slices
from ltvs.runtime.errors import InputError


@pytest.fixture
def patient(coarse_maps: Path) -> MappedPatient:
    return open_maps(coarse_maps)


def test_maps_are_read_as_they_were_painted(coarse_maps: Path, patient: MappedPatient) -> None:
    assert patient.body.spacing == 8.0
    assert patient.liver.spacing == 5.0
    assert 150 < patient.half_width < 200
    inside = np.isin(patient.liver.tissue, LIVER_TISSUES)
    margins = [np.flatnonzero(inside.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))]
    assert all(low >= 4 and high < n - 4 for (low, high), n in zip(margins, inside.shape, strict=True))
    index = np.rint((patient.places - patient.liver.first) / 5.0).astype(int)
    assert inside[tuple(index.T)].all()
    assert not isinstance(patient.body.tissue, np.ndarray) or isinstance(patient.body.tissue, np.memmap)


def header(shape: str) -> str:
    """A .npy file that claims an array of a shape."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n"
    return f"\x93NUMPY\x01\x00{chr(len(text) % 256)}{chr(len(text) // 256)}{text}"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("map.json", "{}", "missing or damaged"),
        ("map.json", '{"format": 0}', "format 0, expected"),
        ("body.npy", "no array", "missing or damaged"),
        ("liver.npy", None, "missing or damaged"),
        ("map.json", "[]", "missing or damaged"),
        ("body.npy", header("(10**22, 2, 3)"), "missing or damaged"),
        ("body.npy", header("(10**22, 2, 3"), "missing or damaged"),
    ],
)
def test_damaged_maps_are_named(coarse_maps: Path, tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    for file in coarse_maps.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content, encoding="latin1")
    with pytest.raises(InputError, match=f"{tmp_path}.*{reason}.*paint"):
        open_maps(tmp_path)


def test_maps_of_other_arrays_are_refused(coarse_maps: Path, tmp_path: Path) -> None:
    for file in coarse_maps.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    np.save(tmp_path / "body.npy", np.zeros((3, 4, 5), dtype=np.float32))
    with pytest.raises(InputError, match="maps that are no volumes of tissues"):
        open_maps(tmp_path)
    shutil.copy(coarse_maps / "body.npy", tmp_path)
    for places in (np.zeros((0, 3), np.float32), np.full((4, 3), np.nan, np.float32), np.zeros((4, 2), np.float32)):
        np.save(tmp_path / "places.npy", places)
        with pytest.raises(InputError, match="places that are no points in mm"):
            open_maps(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"half_width": float("nan")}, "a body nan mm wide to either side"),
        ({"half_width": 1e9}, "a body 1000000000.0 mm wide to either side"),
        ({"body": {"first": [0, 0, 0], "spacing": 0}}, r"voxels of 0.0 mm from \[0, 0, 0\] mm on"),
        ({"liver": {"first": [0, float("inf"), 0], "spacing": 2}}, "voxels of 2.0 mm from"),
    ],
)
def test_maps_of_no_body_are_refused(coarse_maps: Path, tmp_path: Path, change: dict, reason: str) -> None:
    shutil.copytree(coarse_maps, tmp_path, dirs_exist_ok=True)
    facts = json.loads((tmp_path / "map.json").read_text())
    (tmp_path / "map.json").write_text(json.dumps(facts | change))
    with pytest.raises(InputError, match=reason):
        open_maps(tmp_path)


def test_values_that_stand_for_no_tissue_are_named() -> None:
    knots = STILL.knots((8.0, 10.0, 12.0), np.array([14.0, 15.0, 16.0]), torch.device("cpu"))
    damaged = TissueMap(np.full((5, 6, 7), 200, dtype=np.uint8), (10.0, 10.0, 10.0), 2.0, "some/body.npy")
    with pytest.raises(InputError, match=r"some/body.npy: expected tissues below \d+, got 200; paint the maps again"):
        damaged.sample(knots, (5, 6, 7))


def test_maps_know_their_seed(coarse_maps: Path) -> None:
    assert json.loads((coarse_maps / "map.json").read_text())["seed"] == 3


def test_an_image_that_does_not_move_shows_the_map() -> None:
    rng = np.random.default_rng(0)
    tissue = rng.integers(0, len(Tissue), (5, 6, 7)).astype(np.uint8)
    knots = STILL.knots((8.0, 10.0, 12.0), np.array([14.0, 15.0, 16.0]), torch.device("cpu"))
    shown = TissueMap(tissue, (10.0, 10.0, 10.0), 2.0).sample(knots, (5, 6, 7))
    assert np.array_equal(shown.numpy(), tissue)
    # One voxel aside, and air beyond the map.
    knots = STILL.knots((8.0, 10.0, 12.0), np.array([14.0, 15.0, 18.0]), torch.device("cpu"))
    shown = TissueMap(tissue, (10.0, 10.0, 10.0), 2.0).sample(knots, (5, 6, 7))
    assert np.array_equal(shown.numpy()[..., :-1], tissue[..., 1:])
    assert (shown[..., -1] == Tissue.AIR).all()


def test_an_image_beyond_the_map_is_air() -> None:
    knots = STILL.knots((8.0, 10.0, 12.0), np.array([1e4, 0.0, 0.0]), torch.device("cpu"))
    shown = TissueMap(np.ones((5, 6, 7), dtype=np.uint8), (0.0, 0.0, 0.0), 2.0).sample(knots, (3, 4, 5))
    assert shown.shape == (3, 4, 5)
    assert (shown == Tissue.AIR).all()


def test_deformations_are_as_large_as_drawn() -> None:
    for seed in range(20):
        drawn = Deformation.draw((112.0, 390.0, 390.0), np.random.default_rng(seed))
        assert 0.5 < abs(np.linalg.det(drawn.matrix)) < 2.0
        still = Deformation(drawn.matrix, None)
        moved = drawn.knots((112.0, 390.0, 390.0), np.zeros(3), torch.device("cpu"))
        shift = (moved - still.knots((112.0, 390.0, 390.0), np.zeros(3), torch.device("cpu"))).norm(dim=0)
        assert float(shift.max()) < 40
        # Neighbors 8 mm apart do not change places.
        assert (moved.diff(dim=1)[0] * np.sign(drawn.matrix[0, 0]) > 0).all()


FEW = (10, 24, 20)


def both(
    patient: MappedPatient, seed: int, *fixed: Part, size: tuple[int, int, int] = FEW, step: float = 7.0
) -> list[Scene]:
    return [
        whole_slices(patient, size, 40, step, np.random.default_rng(seed), fixed=fixed),
        part_of_liver(patient, size, 48, 4.0, 10.0, np.random.default_rng(seed), fixed=fixed),
    ]


def test_the_same_numbers_make_the_same_scene(patient: MappedPatient) -> None:
    for one, same, other in zip(both(patient, 4), both(patient, 4), both(patient, 5), strict=True):
        assert one.hu.tobytes() == same.hu.tobytes()
        assert one.labels.tobytes() == same.labels.tobytes()
        assert one.hu.tobytes() != other.hu.tobytes()


def test_the_number_of_threads_changes_nothing(patient: MappedPatient) -> None:
    threads = torch.get_num_threads()
    first = both(patient, 4)
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        second = both(patient, 4)
    finally:
        torch.set_num_threads(threads)
    for one, same in zip(first, second, strict=True):
        assert one.hu.tobytes() == same.hu.tobytes()


def test_scenes_are_cts_with_labels(patient: MappedPatient) -> None:
    livers = 0
    for seed in range(12):
        whole, part = both(patient, seed)
        for scene in (whole, part):
            assert scene.hu.shape == scene.labels.shape == (10, 24, 20)
            assert scene.hu.dtype == np.int16
            assert scene.hu.min() >= -1024
            assert scene.labels.max() <= 3
        livers += bool((whole.labels > 0).any())
        assert (part.labels > 0).any()
        assert part.spacing[0] == 4.0
        assert 4.0 < part.spacing[1] == part.spacing[2] < 6.0
    assert 4 <= livers < 12  # some show a chest or a pelvis


@pytest.mark.parametrize("part", get_args(Part))
def test_a_fixed_part_makes_other_scenes_of_the_same_numbers(patient: MappedPatient, part: Part) -> None:
    def seen(*fixed: Part) -> list[tuple[bytes, ...]]:
        """HU of three scenes of each stage: a part that varies may be drawn as it is where it is fixed."""
        scenes = [both(patient, seed, *fixed, step=1.0) for seed in (4, 5, 6)]
        return [tuple(scene.hu.tobytes() for scene in of_stage) for of_stage in zip(*scenes, strict=True)]

    varied, fixed = seen(), seen(part)
    assert fixed == seen(part)
    assert varied[0] != fixed[0]
    # The box around a liver shows the same of it whatever the range.
    assert (varied[1] != fixed[1]) == (part != "range")


def test_nothing_is_reconstructed_outside_the_circle_of_whole_slices(patient: MappedPatient) -> None:
    """A patch of a part of the slices shows a part of it, and no liver in the air."""
    cut = 0
    for seed in range(40):
        scene = whole_slices(patient, (4, 8, 34), 40, 7.0, np.random.default_rng(seed))
        outside = (scene.hu == -1024).all(0)
        cut += bool(0.02 < outside.mean() < 1)
        assert not (scene.labels[:, outside] > 0).any()
    assert 0 < cut < 20, "of one in five, those whose patch reaches the rim"


def test_a_fixed_range_is_that_of_the_liver(patient: MappedPatient) -> None:
    scenes = [both(patient, seed, "range", size=(24, 40, 40))[0] for seed in range(8)]
    assert all((scene.labels > 0).any() for scene in scenes)
    assert all(317 / 40 <= scene.spacing[2] <= 420 / 40 for scene in scenes)
    corners = [scene.hu[:, :2, :2] for scene in scenes]
    assert not all((corner == -1024).all() for corner in corners)


def test_fixed_contrasts_are_those_of_a_cohort(patient: MappedPatient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Livers of 92 to 106 HU, where they are even, and the share of noise and of lesions in a median."""

    def even(rng: np.random.Generator) -> Contrast:
        return replace(draw_cohort_contrast(rng), uneven=0.0)

    monkeypatch.setattr(scenes, "draw_cohort_contrast", even)

    def livers(*fixed: Part) -> np.ndarray:
        made = [both(patient, seed, *fixed)[1] for seed in range(12)]
        return np.array([np.median(scene.hu[scene.labels == 1]) for scene in made])

    assert np.std(livers("contrast", "noise", "lesions")) < 8 < np.std(livers("noise", "lesions"))


def test_fixed_lesions_are_no_fewer_in_a_whole_liver_than_in_a_phantom(patient: MappedPatient) -> None:
    """Each has a first tumor of 16 mm or more, which is seldom as large where they vary, and often missing."""

    def with_tumor(*fixed: Part) -> int:
        scenes = [both(patient, seed, *fixed, size=(40, 48, 48))[1] for seed in range(10)]
        return sum(int((scene.labels == 3).sum() > 60) for scene in scenes)

    assert with_tumor("lesions") > with_tumor()
