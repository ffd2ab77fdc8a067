"""Unusual arguments that are right are accepted, such as whole numbers of any library; nothing else is a width."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossattn3d import CSCA, UCANet, UNet3d
from support.wrong_nets import NARROW, volume

pytestmark = pytest.mark.usefixtures("unchecked")


def test_the_smallest_volume_that_can_be_halved():
    assert UCANet(1, 2, NARROW).eval()(volume(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


def test_whole_numbers_of_other_libraries_are_widths():
    """Widths come from NumPy and PyTorch, too; the net keeps ints, which JSON can hold."""
    given = [np.array([3, 5]), (np.int64(3), np.int32(5)), torch.Size([3, 5]), torch.tensor([3, 5])]
    for channels in given:
        net = UCANet(np.int64(1), np.int32(2), channels, strides=np.array([2]), kernel_sizes=(np.int64(3), (1, 3, 3)))
        assert (net.in_channels, net.out_channels, net.channels) == (1, 2, (3, 5))
        assert (net.strides, net.kernel_sizes) == (((2, 2, 2),), ((3, 3, 3), (1, 3, 3)))
        kept = [net.in_channels, net.out_channels, *net.channels, *net.strides[0], *net.kernel_sizes[0]]
        assert {type(n) for n in kept} == {int}
        assert net.eval()(volume(1, 1, 4, 6, 8)).shape == (1, 2, 4, 6, 8)
    assert type(CSCA(np.int64(3), np.int16(4)).out_channels) is int


def test_autocast_and_weights_that_are_not_here_are_none_of_the_checks():
    net = UCANet(1, 2, NARROW).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(net(volume(1, 1, 8, 8, 8).bfloat16())).all()
    assert net.to("meta")(volume(1, 1, 8, 8, 8).to("meta")).device.type == "meta"


def test_a_factory_whose_signature_cannot_be_read_is_called():
    """Of some callables of C code, inspect knows no signature."""
    with mock.patch("inspect.signature", side_effect=ValueError("no signature found")):
        assert len(UNet3d(1, 2, NARROW, skip=CSCA).skips) == 3


NO_WIDTHS = st.one_of(
    st.floats(), st.text(), st.booleans(), st.none(), st.binary(), st.complex_numbers(), st.lists(st.integers())
)


@given(NO_WIDTHS | st.integers(max_value=0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_else_is_a_width(value):
    for call in (
        CSCA,
        lambda width: CSCA(3, width if width is not None else "none"),
        lambda width: UNet3d(width, 2, (3, 4)),
    ):
        with pytest.raises(
            ValueError, match=r"^(CSCA|UNet3d): expected \w+_channels of 1 or more, a whole number; got "
        ):
            call(value)
    with pytest.raises(
        ValueError, match=r"^UCANet: expected channels of two or more levels, .*; got .*; give one width"
    ):
        UCANet(1, 2, (3, value))


@given(st.integers(1, 12), st.sampled_from(["int8", "uint8", "int32", "int64"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_numbers_of_any_kind_are_widths(width, kind):
    for given_width in (np.dtype(kind).type(width), torch.tensor(width, dtype=getattr(torch, kind))):
        made = CSCA(given_width).out_channels
        assert (made, type(made)) == (width, int)
