"""Odds of classes: the factors that are tried, those that are taken, and what they do to a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossattn3d import UNet3d
from ltvs.model.odds import FACTORS, all_factors, best_factors, multiply_odds, with_odds


@pytest.mark.parametrize("classes", [2, 3])
def test_every_combination_is_tried_once(classes: int) -> None:
    tried = all_factors(classes)
    assert len(set(tried)) == len(tried) == len(FACTORS) ** (classes - 1)
    assert (1.0,) * (classes - 1) in tried


def test_of_equal_means_the_factors_nearest_to_one_are_taken() -> None:
    tried = [(3.0, 1.0), (1.5, 0.7), (0.5, 0.5), (1.5, 1.0)]
    assert best_factors([0.5, 0.5, 0.4, 0.5], tried) == 3
    assert best_factors([0.5, 0.5, 0.6, 0.5], tried) == 2


@given(factors=st.tuples(st.sampled_from(FACTORS), st.sampled_from(FACTORS)), seed=st.integers(0, 2**32 - 1))
def test_a_network_with_other_odds_decides_as_its_probabilities_with_these(factors: tuple, seed: int) -> None:
    torch.manual_seed(seed)
    net = UNet3d(1, 3, (2, 3)).double().eval()
    x = torch.randn(1, 1, 3, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        before = net(x).softmax(1)[0].numpy()
        multiply_odds(net, factors)
        after = net(x).softmax(1)[0].numpy()
    expected = with_odds(before, factors)
    np.testing.assert_allclose(after, expected / expected.sum(0), rtol=1e-6)
