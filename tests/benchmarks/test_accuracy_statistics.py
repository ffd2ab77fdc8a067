"""How two variants of the accuracy study are compared: against hand-worked values, SciPy and simulations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmarks.accuracy.statistics import (
    compare,
    differences,
    holm,
    interval,
    interval_cases,
    mean_sd,
    rank_biserial,
    seed_means,
    signed_rank,
)

NAN = float("nan")
RATE = 0.05


def test_mean_and_deviation_are_over_seeds() -> None:
    scores = np.array([[0.2, 0.4, NAN], [0.6, 0.8, 0.4], [NAN, NAN, NAN]])
    np.testing.assert_allclose(seed_means(scores), [0.3, 0.6, NAN])
    np.testing.assert_allclose(mean_sd(scores), (0.45, np.sqrt(2 * 0.15**2)))
    assert mean_sd(scores[:1])[0] == pytest.approx(0.3)
    assert np.isnan(mean_sd(scores[:1])[1]), "one seed has no deviation"
    assert np.isnan(mean_sd(scores[2:])).all()
    assert np.isnan(mean_sd(np.empty((0, 3)))).all()


def test_a_comparison_by_hand() -> None:
    a = np.array([[0.5, 0.6, 0.9, 0.3, 0.4], [0.7, 0.4, 0.9, 0.3, NAN]])
    b = np.array([[0.3, 0.6, 0.8, 0.7, 0.1], [0.3, 0.5, 0.8, 0.7, 0.1]])
    found = compare(a, b)
    # By case: +0.3, -0.05, +0.1, -0.4; the last has no value with seed 1. Ranks of their sizes: 3, 1, 2, 4.
    assert (found.seeds, found.cases) == (2, 4)
    assert found.difference == pytest.approx(-0.05 / 4)
    assert found.rank_biserial == pytest.approx((3 + 2 - 1 - 4) / 10)
    # R+ = 5 of 10 is the middle of its distribution.
    assert found.p == 1
    # Of 5 cases that all gain, 2 of the 32 choices of signs are as extreme.
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)


def test_the_test_over_cases_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for cases in (4, 9, 13, 31, 60):
        for tied in (False, True):
            by_case = rng.normal(0.02, 0.05, cases)
            by_case = np.round(by_case, 1 if tied else 6)
            moved = by_case[by_case != 0]
            assert signed_rank(by_case) == pytest.approx(stats.wilcoxon(moved).pvalue), (cases, tied)


def test_the_interval_over_seeds_and_cases_by_hand() -> None:
    both = np.array([[0.1, 0.4, 0.1], [0.3, 0.6, 0.6]])
    # Means of seeds 0.2, 0.5; of cases 0.2, 0.5, 0.35; rest +-0.05, +-0.05, -+0.1.
    s, c, e = 3 * 0.045, 2 * 0.0225, 0.03 / 2
    total = s - e + c
    freedom = total**2 / (s**2 / 1 + c**2 / 2 + e**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(total / 6)
    np.testing.assert_allclose(interval(both), (0.35 - reach, 0.35 + reach))
    # Seeds that do not differ add nothing: what is left is the t interval over cases.
    same = both[:1].repeat(2, axis=0)
    over_cases = stats.t.interval(0.95, 2, both[0].mean(), stats.sem(both[0]))
    np.testing.assert_allclose(interval(same), over_cases)
    assert np.isnan(interval(both[:1])).all(), "one seed says nothing about others"
    assert np.isnan(interval(both[:, :1])).all()
    assert np.isnan(interval_cases(both[0, :1])).all()


@given(
    arrays(np.float64, (2, 3, 7), elements=st.integers(0, 10_000).map(lambda n: n / 10_000)),
    st.sets(st.integers(0, 6), max_size=5),
)
def test_swapped_variants_and_cases_without_a_value(scores: np.ndarray, missing: set[int]) -> None:
    a, b = scores
    one, other = compare(a, b, resamples=200), compare(b, a, resamples=200)
    assert other.difference == -one.difference
    assert other.rank_biserial == pytest.approx(-one.rank_biserial)
    assert other.p == pytest.approx(one.p)
    np.testing.assert_allclose(other.interval, (-one.interval[1], -one.interval[0]), atol=1e-12)
    # Draws are the same, percentiles from the other end.
    np.testing.assert_allclose(other.interval_cases, (-one.interval_cases[1], -one.interval_cases[0]), atol=1e-12)
    gone = a.copy()
    gone[1, list(missing)] = NAN
    kept = [case for case in range(7) if case not in missing]
    assert compare(gone, b, resamples=200) == compare(a[:, kept], b[:, kept], resamples=200)


def test_identical_variants() -> None:
    a = np.random.default_rng(0).random((3, 8))
    found = compare(a, a)
    assert (found.difference, found.p, found.rank_biserial) == (0, 1, 0)
    assert found.interval == found.interval_cases == (0, 0)
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 to a computer, but the means are equal.
    turned = compare(np.array([[0.1] * 5, [0.2] * 5, [0.3] * 5]), np.array([[0.3] * 5, [0.2] * 5, [0.1] * 5]))
    assert (turned.difference, turned.p, turned.rank_biserial) == (0, 1, 0)


def test_a_planted_effect_is_found() -> None:
    rng = np.random.default_rng(0)
    cases = rng.normal(0.6, 0.1, 31)
    b = cases + rng.normal(0, 0.03, (5, 31)) + rng.normal(0, 0.02, (5, 1))
    a = cases + 0.1 + rng.normal(0, 0.03, (5, 31)) + rng.normal(0, 0.02, (5, 1))
    found = compare(a, b)
    assert found.difference == pytest.approx(0.1, abs=0.04)
    assert found.p < 1e-6
    assert found.rank_biserial > 0.95
    assert 0 < found.interval_cases[0] < found.interval_cases[1]
    assert 0 < found.interval[0] < found.interval_cases[0] < found.interval_cases[1] < found.interval[1]


@pytest.mark.parametrize(("seeds", "by_seed", "worst"), [(3, 0.0, RATE), (3, 1.0, 0.08), (5, 1.0, 0.06)])
def test_without_an_effect_one_interval_in_twenty_misses_0(seeds: int, by_seed: float, worst: float) -> None:
    rng = np.random.default_rng(1)
    studies, cases = 500, 20
    missed = {"seeds and cases": 0, "cases": 0}
    for _ in range(studies):
        both = rng.normal(0, 1, cases) + rng.normal(0, 1, (seeds, cases)) + by_seed * rng.normal(0, 1, (seeds, 1))
        for name, (low, high) in {
            "seeds and cases": interval(both),
            "cases": interval_cases(both.mean(axis=0), 2000),
        }.items():
            missed[name] += not low <= 0 <= high
    # What an interval misses is binomial: 1 in 1000 sets of studies passes these bounds. With few seeds it misses a bit
    # more than the 5% that are claimed, as its docstring says.
    low, high = stats.binom.ppf([0.0005, 0.9995], studies, [RATE, worst])
    assert low <= missed["seeds and cases"] <= high
    if by_seed:
        assert missed["cases"] > 2 * high, "an interval over cases knows nothing of other seeds"
    else:
        assert low <= missed["cases"] <= high


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(p: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    found = holm(np.array(p))
    assert ((np.array(p) <= found) & (found <= 1)).all()
    # By its definition: rejecting in order until the first that is not below level / (number left).
    for level in (0.01, 0.05, 0.5):
        rejected, order = set(), np.argsort(p, kind="stable")
        for step, index in enumerate(order):
            if p[index] * (len(p) - step) > level:
                break
            rejected.add(index)
        assert set(np.flatnonzero(found <= level)) == rejected


def test_comparisons_that_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"differences: expected .* same \(seeds, cases\), got \(2, 3\) and \(2, 4\)"):
        differences(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="compare: of 3 cases and 2 seeds none has a value in both variants"):
        compare(np.full((2, 3), NAN), np.zeros((2, 3)))
    assert rank_biserial(np.array([])) == 0
