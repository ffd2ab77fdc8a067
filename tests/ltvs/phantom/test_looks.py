"""Contrasts, textures and lesions: within what real CTs show, drawn anew for each image, labeled where they lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltvs.anatomy.tissues import LIVER_TISSUES, Tissue
from ltvs.phantom.compose import body_hu, image_labels, of_tissue, organ_of, render
from ltvs.phantom.contrast import ANY_PHASE, VISIBLE_VESSELS, Contrast, draw_cohort_contrast, draw_contrast
from ltvs.phantom.fields import generator_of, interpolated, lumps, smooth_noise
from ltvs.phantom.lesions import COHORT, WIDE, draw_counts, draw_lesions
from ltvs.phantom.scanner import Scanner
from ltvs.volume.labels import LIVER, TUMOR, VESSEL

SPACING = (2.0, 1.5, 1.5)
CPU = torch.device("cpu")


def drawn(shares: tuple[float, ...], count: int = 300) -> list[Contrast]:
    return [draw_contrast(np.random.default_rng(seed), shares) for seed in range(count)]


def abdomen(size: tuple[int, int, int] = (40, 72, 64)) -> torch.Tensor:
    """Fat, a liver in it, and a vein through it."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    tissue = torch.full(size, int(Tissue.FAT), dtype=torch.uint8)
    inside = z**2 + y**2 + x**2 < 0.8
    tissue[inside] = int(Tissue.LIVER)
    tissue[inside & (y**2 + x**2 < 0.01)] = int(Tissue.PORTAL_VEIN)
    return tissue


def test_livers_have_the_hu_of_real_ones() -> None:
    livers = np.array([contrast.liver for contrast in drawn(ANY_PHASE)])
    assert 90 < livers.mean() < 110
    assert livers.min() < 60  # fatty ones and those without contrast
    assert livers.max() > 140
    assert all(-130 < contrast.hu[Tissue.FAT] < -65 for contrast in drawn(ANY_PHASE, 50))


def test_vessels_can_be_seen_where_they_have_to_be_found() -> None:
    gaps = np.array([contrast.blood - contrast.liver for contrast in drawn(VISIBLE_VESSELS)])
    assert gaps.min() > 5
    assert 40 < np.median(gaps) < 80


def test_shuffled_tissues_keep_air_bone_and_fat() -> None:
    plain, shuffled = (draw_contrast(np.random.default_rng(3), ANY_PHASE, share) for share in (0.0, 1.0))
    for tissue in (Tissue.AIR, Tissue.BONE, Tissue.FAT, Tissue.LUNG, Tissue.GAS):
        assert plain.hu[tissue] == shuffled.hu[tissue]
    moved = np.abs(plain.hu - shuffled.hu)
    assert 10 < moved[Tissue.MUSCLE] + moved[Tissue.SPLEEN] + moved[Tissue.LIVER] <= 150
    assert shuffled.liver == pytest.approx(float(shuffled.hu[Tissue.LIVER]), abs=1e-3)


def test_the_vena_cava_is_as_bright_as_the_liver_in_some() -> None:
    gaps = np.array([c.hu[Tissue.CAVA] - c.liver for c in drawn(VISIBLE_VESSELS)])
    assert 0.1 < (np.abs(gaps) < 10).mean() < 0.5
    assert np.median(gaps) > 10


def test_the_phantoms_of_a_cohort_look_alike() -> None:
    contrasts = [draw_cohort_contrast(np.random.default_rng(seed)) for seed in range(50)]
    assert all(92 <= contrast.liver <= 106 and 46 <= contrast.blood - contrast.liver <= 60 for contrast in contrasts)
    assert all(contrast.hu[Tissue.LIVER] == np.float32(contrast.liver) for contrast in contrasts)


@given(st.tuples(*[st.integers(2, 7)] * 3), st.tuples(*[st.integers(2, 23)] * 3), st.integers(0, 99))
def test_interpolation_is_that_of_pytorch(knots: tuple[int, ...], size: tuple[int, int, int], seed: int) -> None:
    values = torch.randn(knots, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    expected = torch.nn.functional.interpolate(values[None, None], size, mode="trilinear", align_corners=True)[0, 0]
    torch.testing.assert_close(interpolated(values, size), expected, rtol=1e-4, atol=1e-4)


def test_textures_have_the_deviation_and_the_length_asked_for() -> None:
    rng = np.random.default_rng(0)
    field = smooth_noise((60, 120, 100), SPACING, 6.0, generator_of(rng), CPU)
    assert float(field.std()) == pytest.approx(1, rel=0.15)
    assert float(field.diff(dim=2).std()) == pytest.approx(1.5 * 1.5**1.5 * np.sqrt(2) / 6 * (2 / 3), rel=0.25)
    waves = lumps([torch.arange(n) * 1.0 for n in (40, 50, 60)], 7.0, 12.0, rng)
    assert waves.shape == (40, 50, 60)
    assert float(waves.std()) == pytest.approx(7, rel=0.3)


def test_every_tissue_has_its_hu_and_its_texture() -> None:
    contrast = Contrast(
        of_tissue(torch.arange(len(Tissue), dtype=torch.uint8), torch.arange(len(Tissue)) * 10.0).numpy(),
        np.where(np.arange(len(Tissue)) == Tissue.LIVER, np.float32(6), np.float32(0)), 170.0, 180.0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    tissue = abdomen()
    hu = body_hu(tissue, SPACING, contrast, rng, generator_of(rng))
    assert (hu[tissue == Tissue.FAT] == 10 * Tissue.FAT).all()
    liver = hu[tissue == Tissue.LIVER]
    assert float(liver.mean()) == pytest.approx(10 * Tissue.LIVER, abs=2)
    assert 2 < float(liver.std()) < 9


def test_fat_along_the_portal_vein_darkens_the_liver_there_alone() -> None:
    plain = replace(draw_contrast(np.random.default_rng(2), VISIBLE_VESSELS), uneven=0.0, sheath=0.0)
    tissue = abdomen()
    images = []
    for contrast in (plain, replace(plain, sheath=50.0)):
        rng = np.random.default_rng(1)
        images.append(body_hu(tissue, SPACING, contrast, rng, generator_of(rng)))
    change = images[1] - images[0]
    y, x = torch.meshgrid(*(1.5 * (torch.arange(n) - (n - 1) / 2) for n in tissue.shape[1:]), indexing="ij")
    # The vein's half-axes are 5 mm; its fat reaches 7 mm at most on either side, rounded to voxels.
    far = (x.abs() > 5.5 + 7 + 1.5) | (y.abs() > 5.5 + 7 + 1.5)
    assert (change[tissue != Tissue.LIVER] == 0).all()
    assert (change[:, far] == 0).all()
    assert float(change.min()) == pytest.approx(-50, abs=1e-3)


@pytest.mark.parametrize("fat", [0.0, 1.0])
def test_fatty_areas_have_no_border_and_are_liver(fat: float) -> None:
    liver, contrast = organ_of(abdomen()), draw_contrast(np.random.default_rng(0), VISIBLE_VESSELS)
    looks, edges, gaps = replace(WIDE, fat=fat), [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for lesion in draw_lesions(liver, SPACING, contrast, rng, tumors=0, benign=3, looks=looks):
            assert not lesion.tumor
            edges.append(lesion.edge)
            gaps.append(float(lesion.hu.mean()) - contrast.liver)
    dark = np.array(gaps) < 0
    assert (np.array(edges)[dark] >= 4).all() == bool(fat)
    assert (np.array(gaps)[dark] > -60).all() == bool(fat)


@pytest.mark.parametrize("looks", [WIDE, COHORT])
def test_lesions_lie_in_the_liver_apart_from_each_other(looks: object) -> None:
    tissue = abdomen()
    liver = organ_of(tissue)
    assert torch.equal(liver, torch.isin(tissue, torch.tensor([int(value) for value in LIVER_TISSUES])))
    contrast = draw_contrast(np.random.default_rng(0))
    counts = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        lesions = draw_lesions(liver, SPACING, contrast, rng, tumors=4, benign=3, looks=looks)
        counts.add(len(lesions))
        for lesion in lesions:
            assert not ((lesion.level > 0) & ~liver[lesion.box]).any()
            assert lesion.level.shape == lesion.hu.shape == liver[lesion.box].shape
    assert max(counts) > 2


def test_no_lesion_without_a_liver() -> None:
    liver, contrast = torch.zeros(5, 6, 7, dtype=torch.bool), draw_contrast(np.random.default_rng(0))
    assert draw_lesions(liver, SPACING, contrast, np.random.default_rng(0), tumors=3, benign=3) == []


def test_the_first_tumor_of_a_phantom_is_never_tiny() -> None:
    tissue = abdomen((60, 90, 90))
    liver, contrast = organ_of(tissue), draw_contrast(np.random.default_rng(0))
    for seed in range(5):
        [tumor] = draw_lesions(liver, SPACING, contrast, np.random.default_rng(seed), tumors=1, benign=0, looks=COHORT)
        assert float(tumor.level.max()) > 11  # a radius of 16 mm less its uneven surface


def test_most_tumors_are_darker_than_the_liver() -> None:
    tissue = abdomen()
    liver, gaps = organ_of(tissue), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        contrast = draw_contrast(rng, VISIBLE_VESSELS)
        gaps += [
            float(lesion.hu[lesion.level > 0].mean()) - contrast.liver
            for lesion in draw_lesions(liver, SPACING, contrast, rng, tumors=1, benign=0)
            if bool((lesion.level > 0).any())
        ]
    dark = np.mean(np.array(gaps) < -8)
    assert 0.6 < dark < 0.95
    assert -60 < np.median(gaps) < -20


def test_a_halo_is_a_border_nearer_to_the_liver_than_what_it_encloses() -> None:
    tissue = abdomen((60, 90, 90))
    liver, contrast = organ_of(tissue), draw_contrast(np.random.default_rng(0), VISIBLE_VESSELS)
    plain = replace(WIDE, first=(18, 24), darker=(60, 61), others=0.0, rim=0.0, necrosis=0.0, nodules=0.0)
    borders, middles = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        [tumor] = draw_lesions(liver, SPACING, contrast, rng, tumors=1, benign=0, looks=replace(plain, halo=1.0))
        gap = (tumor.hu - contrast.liver).abs()
        borders.append(float(gap[(tumor.level > 0) & (tumor.level < 1.5)].median()))
        middles.append(float(gap[tumor.level > 0.7 * tumor.level.max()].median()))
    # Half or more of 60 HU is taken off the border; texture of up to 9 HU goes on top of both.
    assert max(borders) < 60 * 0.5 + 9 < 60 - 9 < min(middles)


def test_calcium_is_brighter_than_blood_and_part_of_the_tumor() -> None:
    liver, contrast = organ_of(abdomen((60, 90, 90))), draw_contrast(np.random.default_rng(0), VISIBLE_VESSELS)
    plain = replace(WIDE, first=(18, 24), others=0.0, nodules=0.0)
    shares = []
    for calcium in (0.0, 1.0):
        bright = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            looks = replace(plain, calcium=calcium)
            [tumor] = draw_lesions(liver, SPACING, contrast, rng, tumors=1, benign=0, looks=looks)
            bright.append(float((tumor.hu[tumor.level > 0] > contrast.blood + 30).float().mean()))
        shares.append(bright)
    assert max(shares[0]) == 0
    assert 0.01 < np.mean(shares[1]) < 0.4


def test_labels_are_those_of_tissues_and_lesions() -> None:
    tissue = abdomen()
    contrast, rng = draw_contrast(np.random.default_rng(0)), np.random.default_rng(5)
    lesions = draw_lesions(organ_of(tissue), SPACING, contrast, rng, tumors=2, benign=2)
    labels = image_labels(tissue, lesions, (40, 72, 64))
    assert ((labels > 0) == organ_of(tissue)).all()
    outside = torch.ones_like(labels, dtype=torch.bool)
    for lesion in lesions:
        inside = lesion.level > 0
        outside[lesion.box] &= ~inside
        assert not (labels[lesion.box][inside] == VESSEL).any()
    assert ((labels == VESSEL) == (tissue == Tissue.PORTAL_VEIN))[outside].all()
    assert not (labels == TUMOR)[outside].any()
    coarse = image_labels(tissue, lesions, (20, 36, 32))
    for label in (LIVER, TUMOR):
        assert float((coarse == label).sum()) * 8 == pytest.approx(float((labels == label).sum()), rel=0.1)


def test_counts_follow_the_amount_of_liver() -> None:
    counts = np.array([draw_counts(1.5, np.random.default_rng(seed)) for seed in range(400)])
    assert 0.24 < (counts[:, 0] == 0).mean() < 0.42  # none in three of ten, by chance in a few more
    assert counts[:, 0].max() <= 8
    assert counts[:, 1].max() <= 24
    assert 3 < counts[:, 1].mean() < 9
    assert draw_counts(0.0, np.random.default_rng(1))[1] == 0


def test_an_image_is_decided_by_its_generator() -> None:
    def image(seed: int) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        contrast, scanner = draw_contrast(rng), Scanner.draw(rng, (3.0, 9.0))
        tissue = abdomen()
        lesions = draw_lesions(organ_of(tissue), SPACING, contrast, rng, tumors=2, benign=1)
        return render(tissue, SPACING, (20, 36, 32), contrast, lesions, scanner, rng).hu

    assert torch.equal(image(0), image(0))
    assert not torch.equal(image(0), image(1))
