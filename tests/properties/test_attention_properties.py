"""Properties of cross-attention at every size, width and option: sizes and seeds are drawn, arrays follow."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d
from crossattn3d.functional import SCORE_NORMS
from support.backends import CPP, FAST
from support.output_and_gradients import output_and_gradients
from support.random_parameters import assert_close, generator, maps, randomize

LAYOUTS = ("contiguous", "channels last", "transposed", "strided")


class Case(NamedTuple):
    """Everything that makes one module and one pair of maps."""

    seed: int
    batch: int
    size: tuple[int, int, int]
    query_channels: int
    context_channels: int
    score_norm: str
    slice_dim: int
    residual: bool
    layout: str
    backend: str

    def make(self, kind: type) -> torch.nn.Module:
        module = kind(
            self.query_channels,
            self.context_channels,
            score_norm=self.score_norm,
            residual=self.residual,
            slice_dim=self.slice_dim,
            backend=self.backend,
        )
        return randomize(module.double(), self.seed)

    def maps(self) -> tuple[Tensor, Tensor]:
        query, context = maps(self.seed, self.batch, self.query_channels, self.context_channels, self.size)
        return laid_out(query, self.layout), laid_out(context, self.layout)


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last_3d)
    if layout == "transposed":
        return x.transpose(1, 3).contiguous().transpose(1, 3)
    if layout == "strided":
        return x.repeat_interleave(2, -1)[..., ::2]
    return x


@st.composite
def cases(draw: st.DrawFn) -> Case:
    context_channels = draw(st.integers(1, 6))
    query_channels = draw(st.integers(1, 6))
    return Case(
        seed=draw(st.integers(0, 10_000)),
        batch=draw(st.integers(1, 3)),
        size=(draw(st.integers(1, 6)), draw(st.integers(1, 7)), draw(st.integers(1, 8))),
        query_channels=query_channels,
        context_channels=context_channels,
        score_norm=draw(st.sampled_from(SCORE_NORMS)),
        slice_dim=draw(st.sampled_from([-3, -2, -1, 2, 3, 4])),
        residual=draw(st.booleans()) if query_channels == context_channels else False,
        layout=draw(st.sampled_from(LAYOUTS)),
        backend=draw(st.sampled_from(["reference", "torch", *CPP])),
    )


kinds = st.sampled_from([ChannelCrossAttention3d, SliceCrossAttention3d, CSCA])
UNEQUAL = Case(0, 2, (3, 4, 5), 2, 4, "cosine", -2, False, "channels last", "torch")


def slices_first(x: Tensor, slice_dim: int) -> Tensor:
    """A view with the slices in dimension 2."""
    return x.movedim(slice_dim, 2)


@pytest.mark.parametrize("backend", FAST)
@example(UNEQUAL, CSCA)
@given(cases(), kinds)
def test_fast_backends_equal_the_reference_in_value_and_every_gradient(backend, case, kind):
    module = case.make(kind)
    expected = output_and_gradients(module, *case.maps(), "reference")
    actual = output_and_gradients(module, *case.maps(), backend)
    assert set(actual) == {"output", "query", "context", *dict(module.named_parameters())}
    for name, value in expected.items():
        assert_close(actual[name], value, 1e-8, name)


@example(UNEQUAL, CSCA)
@given(cases(), kinds)
def test_samples_of_a_batch_do_not_see_each_other(case, kind):
    module = case.make(kind)
    query, context = case.maps()
    together = module(query, context)
    assert together.shape == context.shape
    for i in range(case.batch):
        assert_close(module(query[i : i + 1], context[i : i + 1]), together[i : i + 1], 1e-10)


@example(UNEQUAL)
@given(cases())
def test_channel_wise_is_equivariant_to_permuting_voxels(case):
    module = case.make(ChannelCrossAttention3d)
    query, context = case.maps()
    order = torch.randperm(query[0, 0].numel(), generator=generator(case.seed))

    def permuted(x: Tensor) -> Tensor:
        return x.flatten(2)[:, :, order].reshape(x.shape)

    assert_close(module(permuted(query), permuted(context)), permuted(module(query, context)), 1e-9)


@example(UNEQUAL)
@given(cases())
def test_slice_wise_is_equivariant_to_permuting_positions_within_slices(case):
    module = case.make(SliceCrossAttention3d)
    query, context = case.maps()
    order = torch.randperm(slices_first(query, case.slice_dim)[0, 0, 0].numel(), generator=generator(case.seed))

    def permuted(x: Tensor) -> Tensor:
        y = slices_first(x, case.slice_dim)
        return y.flatten(3)[..., order].reshape(y.shape).movedim(2, case.slice_dim)

    assert_close(module(permuted(query), permuted(context)), permuted(module(query, context)), 1e-9)


@example(UNEQUAL)
@given(cases())
def test_slice_wise_asks_per_slice_and_mixes_any_order_of_slices(case):
    """Shuffling the decoder's slices shuffles the output; shuffling the encoder's changes nothing."""
    module = case._replace(residual=False).make(SliceCrossAttention3d)
    query, context = case.maps()
    out = module(query, context)
    dim = case.slice_dim
    order = torch.randperm(query.shape[dim], generator=generator(case.seed))
    assert_close(module(query.index_select(dim, order), context), out.index_select(dim, order), 1e-9)
    assert_close(module(query, context.index_select(dim, order)), out, 1e-9)


@example(UNEQUAL, (2, 4))
@given(cases(), st.sampled_from([(2, 3), (3, 4), (2, 4)]))
def test_transposing_the_input_and_the_slice_dim_transposes_the_output(case, axes):
    module = case.make(CSCA)
    query, context = case.maps()
    expected = module(query, context).transpose(*axes)
    moved = {axes[0]: axes[1], axes[1]: axes[0]}
    other = case._replace(slice_dim=moved.get(case.slice_dim % 5, case.slice_dim)).make(CSCA)
    assert_close(other(query.transpose(*axes), context.transpose(*axes)), expected, 1e-9)


@example(UNEQUAL)
@given(cases())
def test_rows_of_attention_sum_to_one(case):
    channel, slices = case.make(CSCA).attention_maps(*case.maps())
    depth = case.size[case.slice_dim % 5 - 2]
    assert channel.shape == (case.batch, case.context_channels, case.context_channels)
    assert slices.shape == (case.batch, depth, depth)
    for attention in (channel, slices):
        assert (attention >= 0).all()
        assert_close(attention.sum(-1), torch.ones(attention.shape[:2], dtype=torch.float64), 1e-12)


@example(UNEQUAL)
@given(cases())
def test_the_whole_is_the_sum_of_its_parts(case):
    module = case.make(CSCA)
    query, context = case.maps()
    halves = [case._replace(residual=False).make(kind) for kind in (ChannelCrossAttention3d, SliceCrossAttention3d)]
    for half, projections in zip(halves, (module.channel, module.slices), strict=True):
        half.load_state_dict(projections.state_dict())
    expected = halves[0](query, context) + halves[1](query, context)
    expected = expected + query if case.residual else expected
    assert_close(module(query, context), expected, 1e-10)


@example(UNEQUAL, CSCA)
@given(cases(), kinds)
def test_the_memory_layout_does_not_matter(case, kind):
    module = case.make(kind)
    plain = module(*case._replace(layout="contiguous").maps())
    assert_close(module(*case.maps()), plain, 1e-10)
