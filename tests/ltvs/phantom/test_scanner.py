"""The scanner: noise of a known deviation and correlation, blur, thick slices, and nothing else where none is drawn."""

import numpy as np
import pytest
import torch

from ltvs.phantom.scanner import Scanner

SPACING = (1.0, 1.0, 1.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(size: tuple[int, int, int] = (40, 110, 96)) -> torch.Tensor:
    return torch.full(size, 100.0)


def test_a_perfect_scanner_averages_and_nothing_else() -> None:
    body = torch.arange(4 * 6 * 8, dtype=torch.float32).view(4, 6, 8)
    image = Scanner(blur=0.0, thickness=1.0, noise=0.0).scan(body, SPACING, (4, 3, 2), generator())
    torch.testing.assert_close(image, body.view(4, 3, 2, 2, 4).mean((2, 4)))


def test_noise_has_the_deviation_and_correlation_of_a_ct() -> None:
    scanner = Scanner(blur=0.0, thickness=1.0, noise=20.0, grain=0.5)
    values = scanner.scan(flat(), SPACING, (40, 110, 96), generator()) - 100
    # Of 400 000 correlated values the deviation is known to about 0.3 %.
    assert float(values.std()) == pytest.approx(20, rel=0.02)
    assert abs(float(values.mean())) < 0.5

    def alike(axis: int, gap: int) -> float:
        n = values.shape[axis]
        first, second = values.narrow(axis, gap, n - gap), values.narrow(axis, 0, n - gap)
        return float((first * second).mean() / values.var())

    assert 0.25 < alike(2, 1) < 0.55
    assert 0.25 < alike(1, 1) < 0.55
    assert 0.02 < alike(0, 1) < 0.3
    assert abs(alike(2, 9)) < 0.03


def test_blur_spreads_a_point_by_its_deviation() -> None:
    body = torch.zeros(3, 41, 41)
    body[1, 20, 20] = 1.0
    image = Scanner(blur=2.0, thickness=1.0, noise=0.0).scan(body, SPACING, (3, 41, 41), generator())
    at = torch.arange(41.0) - 20
    assert float(image.sum()) == pytest.approx(1, abs=1e-4)
    # Cut at 2.5 deviations, a Gaussian keeps about nine tenths of its variance.
    assert float((image[1].sum(0) * at**2).sum()) == pytest.approx(4, rel=0.15)
    assert float(image[0].abs().sum()) == 0


def test_thick_slices_are_averages_between_which_the_image_is_interpolated() -> None:
    body = torch.zeros(24, 2, 2)
    body[12:] = 100.0
    thick = Scanner(blur=0.0, thickness=6.0, noise=0.0).scan(body, SPACING, (12, 2, 2), generator())[:, 0, 0]
    thin = Scanner(blur=0.0, thickness=2.0, noise=0.0).scan(body, SPACING, (12, 2, 2), generator())[:, 0, 0]
    assert thin.unique().tolist() == [0, 100]
    assert thick[5:7].tolist() == pytest.approx([100 / 3, 200 / 3])
    assert (thick.diff() >= 0).all()


def test_cupping_and_streaks_are_added_where_drawn() -> None:
    cupped = Scanner(0.0, 1.0, 0.0, cupping=8.0).scan(flat(), SPACING, (40, 110, 96), generator()) - 100
    assert float(cupped[0, 55, 48]) == pytest.approx(8, abs=0.01)
    assert float(cupped[0, 55, 0]) == pytest.approx(0, abs=0.01)
    streaked = Scanner(0.0, 1.0, 0.0, streaks=5.0).scan(flat(), SPACING, (40, 110, 96), generator()) - 100
    assert float(streaked[:, :, 0].std()) == pytest.approx(5, rel=0.05)
    assert torch.equal(streaked[:, :, 0], streaked[:, :, -1])


def test_drawn_scanners_stay_within_their_bounds() -> None:
    drawn = [Scanner.draw(np.random.default_rng(seed), (3.0, 26.0)) for seed in range(200)]
    assert {scanner.thickness for scanner in drawn} >= {1.0, 2.0, 5.0}
    assert all(3 <= scanner.noise <= 26 and 0.3 <= scanner.blur <= 0.9 for scanner in drawn)
    assert 5 < sum(scanner.streaks > 0 for scanner in drawn) < 40
