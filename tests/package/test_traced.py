"""Programs that PyTorch writes down: torch.jit.trace, the older ONNX export, TensorBoard, torch.fx and make_fx."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from crossattn3d import CSCA, ChannelCrossAttention3d, SliceCrossAttention3d, UCANet, UNet3d, functional
from crossattn3d.functional import SCORE_NORMS
from support.random_parameters import assert_close, channel_parameters, maps, randomize, slice_parameters

pytestmark = [
    pytest.mark.usefixtures("unchecked"),  # sizes in a trace are no `int`
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]
KINDS = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
#: Batch and size of the maps that are traced, and of others.
SIZES = [(2, (3, 4, 5)), (2, (3, 4, 5)), (1, (6, 4, 7))]
NETS = [
    {},
    {"norm": "instance", "use_checkpoint": True},
    {"upsample": "interpolate", "up_norm": True, "deep_supervision": True},
]


def tensors(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


def assert_traced(module: nn.Module, inputs: list[tuple[Tensor, ...]], tolerance: float = 1e-10) -> None:
    """Traced with the first, saved and loaded, it gives what the module gives, of standard operators alone."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, inputs[0], strict=False), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    kinds = {node.kind() for node in loaded.inlined_graph.nodes()}
    assert {kind.split("::")[0] for kind in kinds} <= {"aten", "prim"}
    assert "prim::PythonOp" not in kinds
    for given in inputs[1:]:
        for actual, expected in zip(tensors(loaded(*given)), tensors(module(*given)), strict=True):
            assert_close(actual, expected, tolerance)


@pytest.mark.parametrize("slice_dim", [-3, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_traced_attention(kind, score_norm, slice_dim):
    """Of other values, sizes and batches, too."""
    module = randomize(kind(3, 4, score_norm=score_norm, slice_dim=slice_dim, residual=False).double(), 1)
    assert_traced(module, [maps(i, batch, 3, 4, size) for i, (batch, size) in enumerate(SIZES)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_can_be_trained(kind):
    module = randomize(kind(3, 4).double(), 1)
    inputs = maps(1, 2, 3, 4, SIZES[0][1])
    traced = torch.jit.trace(module, inputs)
    found = [torch.autograd.grad(m(*inputs).square().sum(), list(m.parameters())) for m in (traced, module)]
    for actual, expected in zip(*found, strict=True):
        assert_close(actual, expected, 1e-9)


def test_traced_reference():
    module = randomize(CSCA(3, 4, backend="reference", slice_dim=-1).double(), 1)
    assert_traced(module, [maps(i, batch, 3, 4, size) for i, (batch, size) in enumerate(SIZES)])


def test_traced_layers_that_are_called():
    module = randomize(CSCA(3, 4).double(), 1)
    module.slices.to_key.register_forward_hook(lambda _m, _x, out: 2 * out)
    module.channel.to_value = nn.Sequential(module.channel.to_value)
    assert_traced(module, [maps(i, batch, 3, 4, size) for i, (batch, size) in enumerate(SIZES)])


def volumes(*sizes: tuple[int, int, int, int]) -> list[tuple[Tensor, ...]]:
    return [(maps(i, b, 1, 1, size)[0],) for i, (b, *size) in enumerate(sizes)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", NETS)
@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_traced_nets(make, options, training):
    """Sizes that the decoder crops to, and a memory format in which samples are normalized one by one elsewhere."""
    net = randomize(make(1, 2, (4, 6, 8), **options).double(), 1).train(training)
    net = net.to(memory_format=torch.channels_last_3d)
    assert_traced(net, volumes((1, 4, 8, 12), (1, 4, 8, 12), (2, 5, 9, 6)), 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_traced_functions_and_maps(kind):
    given = maps(1, 2, 3, 4, (3, 4, 5))
    channel, slices = channel_parameters(1, 3, 4, 4), slice_parameters(2, 3, 4, 4)
    calls: dict[type, list[Callable[..., Tensor]]] = {
        ChannelCrossAttention3d: [
            lambda u, e: functional.channel_cross_attention(u, e, channel),
            lambda u, e: functional.channel_attention_map(u, e, channel, score_norm="sqrt"),
        ],
        SliceCrossAttention3d: [
            lambda u, e: functional.slice_cross_attention(u, e, slices, slice_dim=4),
            lambda u, e: functional.slice_attention_map(u, e, slices, slice_dim=-2),
        ],
        CSCA: [lambda u, e: functional.channel_slice_cross_attention(u, e, channel, slices)],
    }
    for call in calls[kind]:
        assert_close(torch.jit.trace(call, given)(*given), call(*given), 1e-10)
    module = kind(3, 4).double()
    traced = torch.jit.trace_module(module, {"forward": given, "attention_maps": given})
    for actual, expected in zip(
        tensors(traced.attention_maps(*given)), tensors(module.attention_maps(*given)), strict=True
    ):
        assert_close(actual, expected, 1e-10)


def test_sizes_are_checked_in_a_trace_without_a_warning():
    module = CSCA(3, 4).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        torch.jit.trace(module, maps(1, 1, 3, 4, (2, 3, 4), torch.float32))
    with pytest.raises(ValueError, match="expected a query with 3 channels; got 4"):
        torch.jit.trace(module, maps(1, 1, 4, 4, (2, 3, 4), torch.float32))
    with pytest.raises(ValueError, match=r"expected at least \(2, 2, 2\) voxels.*got \(1, 4, 4\)"):
        torch.jit.trace(UCANet(1, 2, (2, 3)), torch.ones(1, 1, 1, 4, 4))


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_the_older_onnx_export(score_norm, tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    net = randomize(UCANet(1, 2, (4, 6), score_norm=score_norm), 1).eval()
    axes = {"image": {0: "b", 2: "d", 3: "h", 4: "w"}}
    example, other = torch.rand(2, 1, 4, 6, 8), torch.rand(1, 1, 6, 8, 10)
    torch.onnx.export(net, (example,), tmp_path / "net.onnx", dynamo=False, input_names=["image"], dynamic_axes=axes)
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    for x in (example, other):
        (found,) = session.run(None, {"image": x.numpy()})
        assert_close(torch.from_numpy(found), net(x).detach(), 1e-5)


def test_the_graph_in_tensorboard(tmp_path: Path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_graph(UCANet(1, 2, (2, 3)), torch.ones(2, 1, 4, 4, 4))
    (file,) = tmp_path.iterdir()
    assert b"CSCA" in file.read_bytes()


@pytest.mark.parametrize("options", [{}, {"norm": "instance", "use_checkpoint": True, "upsample": "interpolate"}])
@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_symbolic_traces_of_nets(make, options):
    net = randomize(make(1, 2, (4, 6, 8), **options).double(), 1)
    graph = torch.fx.symbolic_trace(net)
    for (x,) in volumes((2, 4, 8, 12), (1, 5, 9, 6)):
        assert_close(graph(x), net(x), 1e-12)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_symbolic_traces_of_attention(kind, hooked):
    module = randomize(kind(3, 4, score_norm="cosine").double(), 1)
    if hooked:
        module.get_submodule("slices.to_key" if kind is CSCA else "to_key").register_forward_hook(lambda *x: 2 * x[2])
    graph = torch.fx.symbolic_trace(module)
    for batch, size in SIZES[1:]:
        given = maps(3, batch, 3, 4, size)
        assert_close(graph(*given), module(*given), 1e-12)


@pytest.mark.parametrize("mode", ["real", "fake", pytest.param("symbolic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("use_checkpoint", [False, True])
@pytest.mark.parametrize("make", [UNet3d, UCANet])
def test_make_fx(make, use_checkpoint, mode):
    net = randomize(make(1, 2, (4, 6), norm="group", use_checkpoint=use_checkpoint).double(), 1)
    parameters = dict(net.named_parameters())
    first, second = (x for (x,) in volumes((2, 4, 6, 8), (2, 4, 6, 8)))
    graph = make_fx(lambda p, x: torch.func.functional_call(net, p, (x,)), tracing_mode=mode)(parameters, first)
    assert_close(graph(parameters, second), net(second), 1e-12)


@pytest.mark.parametrize(
    "function",
    [functional.channel_cross_attention, functional.slice_cross_attention, functional.channel_slice_cross_attention],
)
def test_scripts_of_functions_are_refused_with_a_reason(function):
    with pytest.raises(
        RuntimeError, match=f"{function.__name__}: expected to be traced; got torch.jit.script.*use torch"
    ):
        torch.jit.script(function)
