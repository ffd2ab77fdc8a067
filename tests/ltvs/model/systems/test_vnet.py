import pytest
import torch

from ltvs.model.systems.vnet import VNet


@pytest.fixture(scope="module")
def net() -> VNet:
    torch.manual_seed(0)
    return VNet(1, 3)


def test_it_is_as_large_as_the_paper_prints(net: VNet) -> None:
    count = sum(p.numel() for p in net.parameters())
    assert count == 45_601_906
    assert f"{count / 1e6:.2f}" == "45.60"


def test_channels_are_dropped_in_training_alone(net: VNet) -> None:
    x = torch.rand(1, 1, 3, 20, 17)
    with torch.no_grad():
        net.train()
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))


def test_whole_sizes_are_not_padded(net: VNet) -> None:
    net.eval()
    x = torch.rand(1, 1, 16, 16, 32)
    with torch.no_grad():
        assert torch.equal(net(x), net.net(x))


def test_it_takes_channels_that_can_be_repeated_to_sixteen() -> None:
    with torch.device("meta"):
        assert VNet(2, 3)(torch.zeros(1, 2, 3, 4, 5)).shape == (1, 3, 3, 4, 5)
    with pytest.raises(ValueError, match="VNet: expected in_channels that divide 16, to be repeated to 16; got 3"):
        VNet(3, 2)
