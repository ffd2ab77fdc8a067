"""Nets whose skips have gates: saved, wrapped, counted, written to ONNX, compiled."""

import copy
import io
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from crossattn3d import CSCA, UCANet
from crossattn3d.dropin import unwrap_skips, wrap_skips
from crossattn3d.export import export_onnx
from crossattn3d.folding import fold_batch_norm
from crossattn3d.hub import from_pretrained, save_pretrained
from support.random_parameters import assert_close, maps, randomize

WIDTHS = (2, 3, 4)


def net(seed: int = 0, **options: object) -> UCANet:
    return randomize(UCANet(1, 2, WIDTHS, gated=True, **options), seed).eval()


def volume(*size: int) -> torch.Tensor:
    return maps(7, 1, 1, 1, size, torch.float32)[0]


@pytest.mark.parametrize("of", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copied", "pickled"])
def test_a_copy_gives_the_same(of) -> None:
    one = net()
    assert torch.equal(of(one)(volume(5, 8, 9)), one(volume(5, 8, 9)))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    other = UCANet(1, 2, WIDTHS, gated=True).eval()
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(volume(5, 8, 9)), one(volume(5, 8, 9)))


def test_a_shared_net_keeps_its_gates(tmp_path: Path) -> None:
    one = net(attention="cca", score_norm="mean")
    save_pretrained(one, tmp_path)
    again = from_pretrained(tmp_path)
    assert (again.gated, again.attention) == (True, "cca")
    assert torch.equal(again(volume(5, 8, 9)), one(volume(5, 8, 9)))


def test_a_folded_net_gives_the_same() -> None:
    one = net().double()
    x = volume(9, 10, 11).double()
    expected = one(x)
    assert_close(fold_batch_norm(one)(x), expected, 1e-9)


@pytest.mark.parametrize("concatenate", [True, False])
def test_another_library_s_net_takes_gated_attention(concatenate: bool) -> None:
    unet = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed").UNet
    torch.manual_seed(0)
    wrapped = wrap_skips(unet(3, 1, 2, channels=(4, 6), strides=(2,)), gated=True, concatenate=concatenate).eval()
    gates = [name for name, _ in wrapped.named_parameters() if "gate.of_" in name]
    assert len(gates) == 2
    wrapped(volume(8, 10, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for name, p in wrapped.named_parameters() if name in gates)
    if concatenate:
        assert not any("gate.of_" in name for name, _ in unwrap_skips(wrapped).named_parameters())


@pytest.mark.usefixtures("unchecked")
def test_a_flag_of_another_kind_is_refused() -> None:
    unet = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed").UNet
    with pytest.raises(ValueError, match="wrap_skips: expected gated to be True or False; got 'yes'"):
        wrap_skips(unet(3, 1, 2, channels=(4, 6), strides=(2,)), gated="yes")


def test_multiplications_are_counted() -> None:
    plain, gated = CSCA(3, 7), CSCA(3, 7, gated=True)
    query, context = (x.float() for x in maps(1, 2, 3, 7, (4, 5, 6)))
    found = []
    for module in (plain, gated):
        with FlopCounterMode(display=False) as counter:
            module(query, context)
        found.append(counter.get_total_flops())
    multiplications = 7 * (3 + 7) * query[:, 0].numel()
    assert found[1] - found[0] == 2 * multiplications
    found = []
    for module in (plain, gated):
        out = module(query.requires_grad_(), context)
        with FlopCounterMode(display=False) as counter:
            out.sum().backward()
        found.append(counter.get_total_flops())
    # Once more for the gate, and two gradients of each product.
    assert found[1] - found[0] == 3 * 2 * multiplications


@pytest.mark.parametrize("counted", ["forward", "backward"])
def test_checkpoints_while_multiplications_are_counted(counted: str) -> None:
    one = UCANet(1, 2, WIDTHS, gated=True, use_checkpoint=True)
    with FlopCounterMode(display=False) if counted == "forward" else nullcontext():
        out = one(volume(4, 6, 8))
    with FlopCounterMode(display=False) if counted == "backward" else nullcontext():
        out.sum().backward()
    assert all(p.grad is not None for p in one.parameters())


def test_without_memory() -> None:
    assert UCANet(1, 2, WIDTHS, gated=True).to("meta")(torch.empty(2, 1, 4, 6, 8, device="meta")).shape == (
        2,
        2,
        4,
        6,
        8,
    )
    with FakeTensorMode() as mode:
        fake = UCANet(1, 2, WIDTHS, gated=True)
        assert fake(mode.from_tensor(torch.zeros(1, 1, 4, 6, 8))).shape == (1, 2, 4, 6, 8)


@pytest.mark.usefixtures("unchecked")
def test_traced_it_gives_the_same() -> None:
    one = net()
    traced = torch.jit.trace(one, (volume(8, 9, 10),))
    assert_close(traced(volume(12, 8, 9)), one(volume(12, 8, 9)), 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_in_onnx_it_gives_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    one = net()
    export_onnx(one, tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    for size in ((8, 12, 16), (12, 8, 20)):
        (found,) = session.run(None, {session.get_inputs()[0].name: volume(*size).numpy()})
        assert_close(torch.from_numpy(found), one(volume(*size)).detach(), 1e-4)
