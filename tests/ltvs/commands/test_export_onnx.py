"""ONNX: another runtime computes the same at sizes that were never traced, from standard operators."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from crossattn3d import UCANet, UNet3d
from crossattn3d.export import OPSET, export_onnx
from crossattn3d.folding import fold_batch_norm
from export_onnx import ExportSettings
from ltvs.runtime.errors import InputError
from support.random_parameters import randomize

#: Three halvings, as in the paper's net: sizes in multiples of 8.
NARROW = (2, 3, 4, 5)
CASES = {
    "unet3d": lambda: UNet3d(1, 2, NARROW),
    "ucanet": lambda: UCANet(1, 3, NARROW),
    "ucanet, folded, channels last": lambda: fold_batch_norm(
        UCANet(1, 3, NARROW).eval().to(memory_format=torch.channels_last_3d)
    ),
    "every option": lambda: UCANet(
        2, 3, (2, 3, 4), attention="csca", score_norm="cosine", residual=True, slice_dim=-1, norm="instance",
        upsample="interpolate", up_norm=True, strides=((1, 2, 2), 2), kernel_sizes=((1, 3, 3), 3, 3),
    ),
    "group, the paper's scores": lambda: UCANet(1, 2, (8, 8, 16), score_norm="none", norm="group"),
}  # fmt: skip
#: None of them is the exporter's example; depth 8 to 40.
SIZES = [(1, 8, 16, 24), (1, 24, 16, 8), (1, 40, 24, 16), (3, 16, 8, 32)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_another_runtime_computes_the_same(name: str, tmp_path: Path, unchecked: None) -> None:
    import onnx
    import onnxruntime

    net = randomize(CASES[name](), 3).eval()
    path = tmp_path / "new" / "net ä.onnx"
    export_onnx(net, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "one file, weights in it, nothing left behind"

    model = onnx.load(path)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {node.op_type for node in model.graph.node} <= known

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(4)
    errors, ours, largest = [], [], []
    for batch, *size in SIZES:
        x = torch.randn(batch, net.in_channels, *size, generator=generator)
        with torch.inference_mode():
            expected, exact = net(x), net.double()(x.double())
            net.float()
        (got,) = session.run(["logits"], {"image": x.numpy()})
        errors.append((torch.from_numpy(got).double() - exact).flatten())
        ours.append((expected.double() - exact).flatten())
        largest.append(exact.abs().max())
    # Both round float32: ours is not the truth either. No further from it than twice as far as PyTorch is, and a few
    # units in the last place where PyTorch happens to be lucky: the largest error at every size.
    luck = 16 * torch.finfo(torch.float32).eps
    if getattr(net, "score_norm", None) != "none":
        for error, own, most in zip(errors, ours, largest, strict=True):
            assert error.abs().max() <= 2 * own.abs().max() + luck * most
    # Scores that are not normalized can be so close that one rounding decides a row: over all sizes together.
    error, own = (torch.cat(parts).square().mean().sqrt() for parts in (errors, ours))
    assert error <= 2 * own + luck * max(largest)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_a_name_that_is_not_in_utf_8(tmp_path: Path, unchecked: None) -> None:
    import onnx

    path = tmp_path / os.fsdecode(b"net\xff.onnx")
    export_onnx(UNet3d(1, 2, NARROW).eval(), path)
    onnx.checker.check_model(path.read_bytes(), full_check=True)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (UNet3d(1, 2, NARROW), r"export_onnx: expected a net in eval mode; got one in training mode; call net\.eval"),
        (UNet3d(1, 2, NARROW).eval().half(), r"expected a net in float32; got torch\.float16; call net\.float\(\)"),
        (UNet3d(1, 2, NARROW, deep_supervision=True).eval(), r"expected deep supervision to be off; got a net with it"),
        (
            nn.Sequential(nn.ReLU()),
            r"^export_onnx: expected a UNet3d, a UCANet or a net with in_channels; got Sequential; use torch\.onnx",
        ),
        (nn.Conv3d(1, 2, 3).eval(), r"^export_onnx: .* or a size; got Conv3d; give size=\(d, h, w\)"),
        (UNet3d, r"^export_onnx: expected a net; got the class UNet3d; make a net of it first, UNet3d\(\.\.\.\)"),
        (None, r"^export_onnx: expected a net, a torch\.nn\.Module; got NoneType; give the net itself"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_nets_that_cannot_be_exported(net: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [8, (8, 8), (8, 8, 0), (8, 8, 8.5), "888"])
@pytest.mark.usefixtures("unchecked")
def test_sizes_that_are_none(size: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^export_onnx: expected size as 3 whole numbers of 1 or more; got .*; give"):
        export_onnx(nn.Conv3d(1, 2, 3).eval(), tmp_path / "net.onnx", size=size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["net.pt", "net", "net.ONNX", "net.onnx.gz"])
def test_the_command_refuses_names_of_other_formats(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"/{re.escape(name)}: expected a name that ends in \.onnx$"):
        ExportSettings(tmp_path, tmp_path / name)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'export_onnx: needs onnxscript .*; run pip install "\.\[onnx\]" in a clone'):
        export_onnx(UNet3d(1, 2, NARROW).eval(), tmp_path / "net.onnx")
