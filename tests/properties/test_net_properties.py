"""Properties of the networks at every size that survives their halvings."""

import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crossattn3d import CSCA, ConcatSkip, UCANet, UNet3d
from support.random_parameters import generator, normal, randomize

sizes = st.tuples(st.integers(8, 19), st.integers(8, 18), st.integers(8, 17))
seeds = st.integers(0, 10_000)


def volume(seed: int, batch: int, size: tuple[int, int, int]) -> torch.Tensor:
    return normal((batch, 1, *size), generator(seed), torch.float32)


@example((33, 34, 35), "csca", "transposed", 0)
@example((33, 34, 35), "concatenation", "transposed", 0)
@example((8, 8, 8), "csca", "interpolate", 0)
@given(
    sizes,
    st.sampled_from(["concatenation", "csca", "cca", "sca"]),
    st.sampled_from(["transposed", "interpolate"]),
    seeds,
)
def test_shape_in_equals_shape_out(size, attention, upsample, seed):
    channels = (2, 3, 4, 5)
    if attention == "concatenation":
        net = UNet3d(1, 3, channels, upsample=upsample)
    else:
        net = UCANet(1, 3, channels, attention=attention, upsample=upsample)
    out = randomize(net, seed).eval()(volume(seed, 1, size))
    assert out.shape == (1, 3, *size)
    assert torch.isfinite(out).all()


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=3),
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    st.sampled_from([ConcatSkip, CSCA]),
    seeds,
)
def test_shape_in_equals_shape_out_for_any_strides(strides, extra, skip, seed):
    least = [torch.tensor([s[axis] for s in strides]).prod().item() for axis in range(3)]
    size = tuple(n + more for n, more in zip(least, extra, strict=True))
    net = UNet3d(1, 2, range(2, 3 + len(strides)), skip=skip, strides=strides)
    assert randomize(net, seed).eval()(volume(seed, 1, size)).shape == (1, 2, *size)


@example((9, 10, 11), "csca", "batch", 0)
@given(
    st.tuples(st.integers(8, 12), st.integers(8, 12), st.integers(9, 12)),
    st.sampled_from(["csca", "cca", "sca"]),
    st.sampled_from(["batch", "instance", "group"]),
    seeds,
)
def test_samples_of_a_batch_do_not_see_each_other_in_eval(size, attention, norm, seed):
    net = randomize(UCANet(1, 2, (4, 5, 6, 7), attention=attention, norm=norm), seed).double().eval()
    x = volume(seed, 2, size).double()
    together = net(x)
    assume((together[0] - together[1]).abs().max() > 1e-6)  # else every ReLU of a narrow level is shut
    for i in range(2):
        torch.testing.assert_close(net(x[i : i + 1]), together[i : i + 1], rtol=1e-9, atol=1e-9)
