"""The tests' own safety net: in a test run, beartype checks the shapes that the package's signatures state."""

import jaxtyping
import pytest
import torch

from crossattn3d import CSCA, functional
from crossattn3d.kernels import composed, reference
from support.random_parameters import channel_parameters, maps


def test_a_wrong_rank_stops_at_the_signature():
    query, context = maps(0, 1, 3, 4, (2, 3, 5))
    with pytest.raises(jaxtyping.TypeCheckError, match="context"):
        CSCA(3, 4).double()(query, context[0])


@pytest.mark.parametrize("kernel", [reference, composed])
def test_a_mismatch_between_two_arguments_stops_at_the_signature(kernel):
    query, context = maps(0, 2, 3, 4, (2, 3, 5))
    with pytest.raises(jaxtyping.TypeCheckError, match="context"):
        kernel.channel_attention(query, context[:1], channel_parameters(0, 3, 4, 4), "mean")


def test_an_unknown_option_stops_at_the_signature():
    query, context = maps(0, 1, 3, 4, (2, 3, 5))
    with pytest.raises(jaxtyping.TypeCheckError, match="score_norm"):
        functional.channel_cross_attention(query, context, channel_parameters(0, 3, 4, 4), score_norm="softmax")


@pytest.mark.usefixtures("unchecked")
def test_without_the_checks_the_package_reports_it_itself():
    query, context = maps(0, 1, 3, 4, (2, 3, 5))
    with pytest.raises(ValueError, match="expected context as"):
        CSCA(3, 4).double()(query, context[0])


def test_integers_are_no_feature_maps():
    with pytest.raises(jaxtyping.TypeCheckError, match="query"):
        CSCA(3)(torch.ones((1, 3, 2, 3, 4), dtype=torch.int64), torch.ones(1, 3, 2, 3, 4))
