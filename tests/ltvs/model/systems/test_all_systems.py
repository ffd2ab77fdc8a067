"""What all ten systems of Table 1 have in common."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ltvs.model.systems.registry import NETWORKS, make_system

GOLDEN = Path(__file__).parent / "golden"
TWO_DIMENSIONAL = ("unet2d", "resunet2d", "uctransnet", "transunet")
#: The package's own, which ask for inputs of at least 8 x 8 (x 8) voxels, and of two at the deepest level in training.
SMALLEST = dict.fromkeys(("unet2d", "unet3d", "ucanet"), (8, 8, 9))
#: Multiples to which those that pad are known to pad.
MULTIPLES = {
    "resunet2d": (1, 8, 8),
    "resunet3d": (8, 8, 8),
    "attention_unet": (8, 8, 8),
    "vnet": (16, 16, 16),
    "uxnet": (16, 16, 16),
}
#: Those without layers for 2D maps, whose weights have no channels_last_3d.
OF_3D_LAYERS = [name for name in NETWORKS if name not in ("uctransnet", "transunet")]
SIZES = [(1, 1, 1), (3, 9, 11), (5, 17, 40)]
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))


def in_bfloat16(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test as slow on processors without instructions for bfloat16, where it takes minutes."""
    quick = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return test if quick else pytest.mark.slow(test)


@pytest.fixture(scope="module", params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(name: str) -> nn.Module:
    """The system for one channel and three classes, made once, since some are large."""
    torch.manual_seed(0)
    return make_system(name, 1, 3)


@pytest.fixture
def net(made: nn.Module) -> Iterator[nn.Module]:
    """The system in eval mode; tests leave its weights as they are."""
    yield made.eval()
    made.zero_grad()


@pytest.fixture
def on_meta(name: str) -> Callable[[int, int], nn.Module]:
    """Make the system on the meta device, where shapes alone are computed."""

    def make(in_channels: int, out_channels: int) -> nn.Module:
        with torch.device("meta"):
            return make_system(name, in_channels, out_channels)

    return make


def patch(name: str, size: tuple[int, ...], batch: int = 1) -> Tensor:
    """A patch of that size, or of the smallest that the system takes."""
    smallest = SMALLEST.get(name, (1, 1, 1))
    torch.manual_seed(1)
    return torch.randn(batch, 1, *(max(n, m) for n, m in zip(size, smallest, strict=True)))


def assert_equal_but_for_rounding(value: Tensor, expected: Tensor) -> None:
    """Float32 sums taken in another order: rounding grows through some fifty layers, to less than 1e-4."""
    assert (value - expected).abs().max() <= 1e-4 * expected.abs().max()


def lines(module: nn.Module) -> str:
    """A line per tensor of the state_dict, in its order: name and shape."""
    shapes = {name: "x".join(map(str, value.shape)) or "scalar" for name, value in module.state_dict().items()}
    return "".join(f"{name} {shape}\n" for name, shape in shapes.items())


def test_the_keys_are_what_they_were(name: str, on_meta: Callable[[int, int], nn.Module]) -> None:
    """If this fails, runs of earlier versions no longer load: rename nothing, or convert what is loaded."""
    assert lines(on_meta(1, 3)) == (GOLDEN / f"{name}.txt").read_text()


def test_it_says_what_it_takes_and_gives(on_meta: Callable[[int, int], nn.Module]) -> None:
    net = on_meta(2, 4)
    assert (net.in_channels, net.out_channels) == (2, 4)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_any_number_of_classes(name: str, on_meta: Callable[[int, int], nn.Module], classes: int) -> None:
    x = patch(name, (3, 18, 21), batch=2).to("meta")
    assert on_meta(1, classes)(x).shape == (2, classes, *x.shape[2:])


@every_size
def test_any_size_in_eval_mode(name: str, net: nn.Module, size: tuple[int, ...]) -> None:
    x = patch(name, size)
    with torch.inference_mode():
        logits = net(x)
    assert logits.shape == (1, 3, *x.shape[2:])
    assert logits.isfinite().all()


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*(st.integers(1, most) for most in (4, 40, 40))), st.integers(1, 2), st.booleans())
def test_any_size_that_is_drawn(
    name: str, made: nn.Module, size: tuple[int, int, int], batch: int, training: bool
) -> None:
    x = patch(name, size, batch)
    with torch.no_grad():
        logits = made.train(training)(x)
    assert logits.shape == (batch, 3, *x.shape[2:])
    assert logits.isfinite().all()


@every_size
def test_any_size_in_training_mode(name: str, made: nn.Module, size: tuple[int, ...]) -> None:
    """One patch alone, too, of which a norm over a single voxel at the deepest level could not be taken."""
    net = deepcopy(made).train()
    x = patch(name, size)
    logits = net(x)
    assert logits.shape == (1, 3, *x.shape[2:])
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_gradients_reach_every_parameter(name: str, net: nn.Module) -> None:
    """In eval mode: in training mode batch norm takes away what the bias of the convolution before it adds."""
    logits = net(patch(name, (3, 16, 20), batch=2))
    (logits * torch.randn_like(logits)).sum().backward()
    reached = {n: p.grad is not None and p.grad.isfinite().all() and p.grad.any() for n, p in net.named_parameters()}
    assert [n for n, whether in reached.items() if not whether] == []


def test_a_call_depends_on_its_input_alone(name: str, net: nn.Module) -> None:
    x, other = patch(name, (4, 20, 28)), patch(name, (3, 17, 40))
    before = {n: tensor.clone() for n, tensor in net.state_dict().items()}
    with torch.inference_mode():
        first = net(x)
        net(other)
        assert torch.equal(net(x), first)
        assert not torch.equal(net(x + 1), first)
    assert all(torch.equal(tensor, before[n]) for n, tensor in net.state_dict().items())


def test_patches_of_a_batch_do_not_influence_one_another(name: str, net: nn.Module) -> None:
    x = patch(name, (4, 20, 28), batch=2)
    with torch.inference_mode():
        assert_equal_but_for_rounding(net(x), torch.cat([net(x[:1]), net(x[1:])]))


def test_slices_of_a_2d_network_do_not_influence_one_another(name: str, net: nn.Module) -> None:
    x = patch(name, (10, 20, 28)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[:, :, 1].sum(), x)
    reached = gradient[0, 0].flatten(1).any(dim=1).tolist()
    assert reached[1]
    assert any(reached[:1] + reached[2:]) == (name not in TWO_DIMENSIONAL)


def test_every_voxel_of_a_patch_is_seen(name: str, net: nn.Module) -> None:
    """The last ones too, which padding and cutting could lose."""
    x = patch(name, (3, 17, 19)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x)
    assert gradient.all()


@pytest.mark.parametrize("name", MULTIPLES, indirect=True, scope="module")
@pytest.mark.parametrize("size", [(3, 18, 21), (17, 16, 33)], ids=["3x18x21", "17x16x33"])
def test_padding_is_by_zeros_behind_the_patch(name: str, net: nn.Module, size: tuple[int, ...]) -> None:
    x = patch(name, size)
    d, h, w = (-n % multiple for n, multiple in zip(size, MULTIPLES[name], strict=True))
    with torch.inference_mode():
        padded = net(F.pad(x, (0, w, 0, h, 0, d)))
        assert torch.equal(net(x), padded[:, :, : size[0], : size[1], : size[2]])


@pytest.mark.slow
def test_a_few_steps_lower_the_loss(name: str, made: nn.Module) -> None:
    net = deepcopy(made).train()
    x = patch(name, (4, 24, 32))
    truth = (F.avg_pool3d(x, 3, 1, 1)[:, 0] * 6).round().clamp(0, 2).long()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(net(x), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@in_bfloat16
def test_autocast_to_bfloat16(name: str, made: nn.Module) -> None:
    net = deepcopy(made).train()
    x = patch(name, (4, 20, 28))
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
        loss = F.cross_entropy(logits.float(), torch.ones(x[:, 0].shape, dtype=torch.long))
    loss.backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with torch.inference_mode():
        exact = net.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(x).float()
    # Of eight bits, several are lost on the way through some fifty layers.
    assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("name", OF_3D_LAYERS, indirect=True, scope="module")
def test_memory_format_does_not_change_the_result(name: str, made: nn.Module) -> None:
    x = patch(name, (4, 20, 28))
    with torch.inference_mode():
        expected = made.eval()(x)
        net = deepcopy(made).to(memory_format=torch.channels_last_3d)
        assert_equal_but_for_rounding(net(x.to(memory_format=torch.channels_last_3d)), expected)


def test_copies_and_saved_weights_give_the_same_result(name: str, net: nn.Module) -> None:
    x = patch(name, (4, 20, 28))
    copy = deepcopy(net)
    with torch.inference_mode():
        expected = net(x)
        assert torch.equal(copy(x), expected)
        for tensor in copy.state_dict().values():
            tensor.zero_()
        assert not torch.equal(copy(x), expected)
        assert torch.equal(net(x), expected)
        copy.load_state_dict(net.state_dict())
        assert torch.equal(copy(x), expected)
