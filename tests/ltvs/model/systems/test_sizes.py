import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ltvs.model.systems.parts.sizes import in_multiples, padded_multiples

SIZES = st.tuples(*[st.integers(1, 40)] * 3)
MULTIPLES = st.tuples(st.sampled_from([1, 2, 8, 16]), *[st.sampled_from([2, 8, 16])] * 2)


@given(SIZES, MULTIPLES)
def test_a_network_sees_the_input_and_zeros_behind_it(size: tuple[int, ...], multiples: tuple[int, ...]) -> None:
    x = torch.rand(1, 2, *size)
    seen = []

    def net(padded: torch.Tensor) -> torch.Tensor:
        seen.append(padded)
        return 2 * padded[:, :1]

    torch.testing.assert_close(in_multiples(x, multiples, net), 2 * x[:, :1], rtol=0, atol=0)
    (padded,) = seen
    d, h, w = size
    of_padding = padded_multiples(size, multiples)
    assert all(0 <= n - k < m and n % m == 0 for n, k, m in zip(padded.shape[2:], size, of_padding, strict=True))
    assert torch.equal(padded[:, :, :d, :h, :w], x)
    assert padded.count_nonzero() == x.count_nonzero()


@given(SIZES, MULTIPLES)
def test_two_voxels_are_left_at_the_deepest_level(size: tuple[int, ...], multiples: tuple[int, ...]) -> None:
    padded_to = padded_multiples(size, multiples)
    # What the network halves becomes so many voxels; an axis that it does not halve is not to be counted on.
    deepest = [-(-n // k) * k // m for n, k, m in zip(size, padded_to, multiples, strict=True) if m > 1]
    assert math.prod(deepest) >= 2
    assert padded_to[:2] == multiples[:2]
    enough = math.prod(-(-n // m) for n, m in zip(size, multiples, strict=True) if m > 1) >= 2
    assert padded_to[2] == (1 if enough else 2) * multiples[2]
