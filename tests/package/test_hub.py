"""Sharing nets by folder: they come back as they were, and nothing else than a net comes in."""

import errno
import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from crossattn3d import CSCA, UCANet, UNet3d
from crossattn3d.folding import fold_batch_norm
from crossattn3d.hub import CARD, CONFIG, WEIGHTS, config_of, from_pretrained, save_pretrained
from support.random_parameters import randomize

NARROW = (2, 3, 5)
OPTIONS = {
    "paper": lambda: UCANet(1, 3, NARROW),
    "every option": lambda: UCANet(
        2, 3, NARROW, attention="cca", score_norm="cosine", residual=True, slice_dim=-1, strides=((1, 2, 2), 2),
        kernel_sizes=((1, 3, 3), 3, 3), norm="instance", upsample="interpolate", up_norm=True, backend="reference",
    ),
    "concatenation": lambda: UNet3d(1, 2, NARROW, norm="group"),
}  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_pretrained(randomize(UCANet(1, 3, NARROW), 0), tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_comes_back_as_it_was(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    net = randomize(OPTIONS[name](), 1).to(dtype, memory_format=torch.channels_last_3d)
    net.encoder[0][1].num_batches_tracked = torch.tensor(7) if name == "paper" else None
    save_pretrained(net, tmp_path / "a net")
    again = from_pretrained(str(tmp_path / "a net"))
    assert type(again) is type(net)
    assert not any(module.training for module in again.modules())
    assert again.state_dict().keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0, check_stride=False)
    if dtype != torch.bfloat16:
        x = torch.randn(1, net.in_channels, 5, 8, 12, dtype=dtype)
        # Not to the last bit: memory formats differ, and so does the backend where one was asked for.
        torch.testing.assert_close(again(x), net.eval()(x), rtol=1e-4, atol=1e-4)


def test_how_it_computes_is_left_to_whoever_loads_it(tmp_path: Path) -> None:
    save_pretrained(UCANet(1, 3, NARROW, backend="reference", use_checkpoint=True), tmp_path)
    assert not {"backend", "use_checkpoint"} & set(json.loads((tmp_path / CONFIG).read_text())["arguments"])
    assert (from_pretrained(tmp_path).backend, from_pretrained(tmp_path).use_checkpoint) == ("auto", False)


@pytest.mark.parametrize("switched_off", [False, True])
def test_deep_supervision_is_off_in_what_comes_back(switched_off: bool, tmp_path: Path) -> None:
    net = UCANet(1, 3, NARROW, deep_supervision=True).eval()
    x = torch.randn(1, 1, 4, 8, 12)
    expected = net(x)
    net.deep_supervision = not switched_off
    save_pretrained(net, tmp_path)
    again = from_pretrained(tmp_path)
    torch.testing.assert_close(again(x), expected[0])
    again.deep_supervision = True
    torch.testing.assert_close(again(x), expected)


def test_what_is_written(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == sorted([CARD, CONFIG, WEIGHTS])
    config = json.loads((saved / CONFIG).read_text())
    assert config["class"] == "UCANet"
    assert config["arguments"]["channels"] == [2, 3, 5]
    card = (saved / CARD).read_text()
    assert card.startswith("---\nlibrary_name: crossattn3d\n")
    for words in ("Not stated", "from_pretrained('net')", "Not a medical device", "| `channels` | `(2, 3, 5)` |"):
        assert words in card


def test_the_arguments_of_a_config_are_those_of_the_class_in_order() -> None:
    sizes = ["in_channels", "out_channels", "channels"]
    attention = ["attention", "score_norm", "residual", "slice_dim", "gated"]
    net = ["strides", "kernel_sizes", "norm", "upsample", "up_norm", "deep_supervision"]
    assert list(config_of(UNet3d(1, 3, NARROW))["arguments"]) == [*sizes, *net]
    assert list(config_of(UCANet(1, 3, NARROW))["arguments"]) == [*sizes, *attention, *net]


def test_the_code_on_the_card_runs(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    code = (saved / CARD).read_text().split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, CARD, "exec"), names)
    assert isinstance(names["net"], UCANet)


def test_a_card_of_ones_own_stays_until_another_is_given(saved: Path) -> None:
    (saved / CARD).write_text("# Mine\n")
    (saved / "scores.csv").touch()
    save_pretrained(UNet3d(1, 2, NARROW), saved)
    assert (saved / CARD).read_text() == "# Mine\n"
    assert type(from_pretrained(saved)) is UNet3d
    save_pretrained(UNet3d(1, 2, NARROW), saved, card="Trained on *two* phantoms.")
    assert "## Training and scores\n\nTrained on *two* phantoms.\n" in (saved / CARD).read_text()
    assert (saved / "scores.csv").exists()


class Own(UNet3d):
    """A net of somebody's own."""


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Own(1, 2, NARROW), r"save_pretrained: expected a UNet3d or a UCANet; got Own; take the net out"),
        (nn.Linear(2, 3), "got Linear"),
        (nn.DataParallel(UNet3d(1, 2, NARROW)), r"got DataParallel; take the net out .*\.module"),
        (torch.compile(UNet3d(1, 2, NARROW)), r"got OptimizedModule; .* \._orig_mod of torch\.compile"),
        (UNet3d(1, 2, NARROW, skip=CSCA), "with other layers; was it folded, wrapped, or made with a skip of your own"),
        (
            fold_batch_norm(UCANet(1, 2, NARROW).eval()),
            "expected a UCANet as its arguments make it; got one with other",
        ),
    ],
    ids=["subclass", "linear", "parallel", "compiled", "skip", "folded"],
)
def test_what_a_config_cannot_say_is_refused(net: nn.Module, message: str, tmp_path: Path, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        save_pretrained(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    net = UNet3d(1, 2, NARROW)
    net.head = nn.Conv3d(NARROW[0], 5, 1)
    with pytest.raises(ValueError, match="with other layers"):
        save_pretrained(net, tmp_path)


def test_a_full_disk_leaves_the_old_net(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in saved.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"save_pretrained: .*net: cannot be written .* is the disk full\?"):
        save_pretrained(UNet3d(1, 2, NARROW), saved, card="new")
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize("moment", range(3))
def test_ended_in_between_there_is_no_config(saved: Path, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one file that makes a folder whole is never beside weights of another net."""
    moved, replace = [], Path.replace

    def ends(path: Path, target: Path) -> Path:
        if len(moved) == moment:
            raise OSError(errno.EIO, "the power is gone")
        moved.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", ends)
    with pytest.raises(OSError, match="the power is gone"):
        save_pretrained(UNet3d(1, 2, NARROW), saved, card="new")
    with pytest.raises(ValueError, match=r"config\.json: cannot be read \(No such file or directory\); is the folder"):
        from_pretrained(saved)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "net").touch()
    with pytest.raises(FileExistsError, match="net"):
        save_pretrained(UNet3d(1, 2, NARROW), tmp_path / "net")
    with pytest.raises(ValueError, match=r"expected a folder, or a repository as owner/name; got '.*net'"):
        from_pretrained(str(tmp_path / "net"))


@pytest.mark.parametrize("source", [Path("owner/name"), "name", "a/b/c", "../elsewhere/net", ""])
def test_what_is_neither_a_folder_nor_a_repository(source: str | Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match=r"from_pretrained: "):
        from_pretrained(source)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("source", [None, 3, UNet3d, "", [Path("net")]])
def test_what_is_no_name_at_all(source: object) -> None:
    got = f"got {re.escape(repr(source))}; give"
    with pytest.raises(ValueError, match=rf"^from_pretrained: expected a folder, or .* owner/name; {got}"):
        from_pretrained(source)


class Runs:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def damage(folder: Path, how: str) -> None:
    path = folder / WEIGHTS
    whole, tensors = path.read_bytes(), safetensors.torch.load_file(path)
    before, first, count = dict(tensors), "encoder.0.0.weight", "encoder.0.1.num_batches_tracked"
    if how == "no file":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "one byte less":
        path.write_bytes(whole[:-1])
    elif how == "header of terabytes":
        path.write_bytes((2**42).to_bytes(8, "little") + whole[8:])
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Runs(folder / "ran")))
    elif how == "torch.save":
        torch.save(Runs(folder / "ran"), path)
    elif how == "wrong key":
        tensors["encoder.9.weight"] = tensors.pop(first)
    elif how == "one more":
        tensors["encoder.9.weight"] = torch.zeros(1)
    elif how == "wrong shape":
        tensors[first] = tensors[first].transpose(0, 1).contiguous()
    elif how == "integers":
        tensors[first] = tensors[first].int()
    elif how == "a count with a fraction":
        tensors[count] = tensors[count].float()
    elif how == "two precisions":
        tensors[first] = tensors[first].half()
    elif how == "8 bits":
        tensors = {k: v.to(torch.float8_e4m3fn) if v.is_floating_point() else v for k, v in tensors.items()}
    if tensors.keys() != before.keys() or any(tensors[name] is not before[name] for name in before):
        safetensors.torch.save_file(tensors, path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no file", r"model\.safetensors: cannot be read \(No such file or directory\); is the folder complete\?"),
        ("empty", "is not a safetensors file or is damaged .* copy it again"),
        ("half", "is not a safetensors file or is damaged"),
        ("one byte less", "is not a safetensors file or is damaged"),
        ("header of terabytes", "is not a safetensors file or is damaged"),
        ("pickle", "is a pickle by another name, which could run anything when it is read; ask for safetensors"),
        ("torch.save", "is a pickle by another name"),
        (
            "wrong key",
            r"expected the weights of the UCANet in config\.json; got no encoder\.0\.0\.weight \(1 missing\)",
        ),
        ("one more", r"got encoder\.9\.weight besides \(1 too many\)"),
        ("wrong shape", r"got encoder\.0\.0\.weight of \(1, 2, 3, 3, 3\) in place of \(2, 1, 3, 3, 3\)"),
        ("integers", r"got encoder\.0\.0\.weight of torch\.int32 in place of torch\.float32"),
        ("a count with a fraction", r"num_batches_tracked of torch\.float32 in place of torch\.int64"),
        ("two precisions", r"expected weights of one precision, 16 to 64 bits; got torch\.float16, torch\.float32"),
        ("8 bits", r"got torch\.float8_e4m3fn; convert"),
    ],
)
def test_weights_that_are_damaged_or_hostile(saved: Path, how: str, message: str) -> None:
    damage(saved, how)
    with pytest.raises(ValueError, match=rf"^from_pretrained: .*{message}") as error:
        from_pretrained(saved)
    assert not (saved / "ran").exists(), "nothing in the file was run"
    assert "\n" not in str(error.value)


ARGUMENTS = {"in_channels": 1, "out_channels": 3, "channels": [2, 3, 5]}


def config(**changes: object) -> str:
    return json.dumps({"class": "UCANet", "arguments": ARGUMENTS | changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        ("[]", "expected class and arguments of a net; was it written by crossattn3d"),
        ('{"class": "UCANet", "arguments": [1, 3]}', "expected class and arguments of a net"),
        ('{"class": "os.system", "arguments": {}}', "expected the class UNet3d or UCANet; got 'os.system'"),
        ('{"class": ["UCANet"], "arguments": {}}', r"got \['UCANet'\]"),
        ('{"class": "UCANet", "arguments": {}}', "makes no UCANet .*missing .*in_channels"),
        (config(skip="CSCA"), "UCANet has no argument 'skip'; written by crossattn3d None, a newer one"),
        (config(backend="triton"), "UCANet has no argument 'backend'"),
        (config(self=1), "UCANet has no argument 'self'"),
        (config(residual="no"), "expected residual like True; got 'no'; correct it"),
        (config(slice_dim=3.0), "expected slice_dim like -3; got 3.0"),
        (config(norm=["batch"]), r"expected norm like 'batch'; got \['batch'\]"),
        (config(norm="spectral"), "makes no UCANet .*expected norm to be one of"),
        (config(in_channels="1"), "makes no UCANet"),
        (config(channels=8), "makes no UCANet"),
        (config(channels=[2, -3, 5]), "makes no UCANet .*each 1 or more"),
        (config(channels=[2**62, 2**62]), "makes no UCANet"),
        (config(strides={"a": 1}), "makes no UCANet"),
        # It would take a terabyte: no memory is taken before the weights have been seen to fit.
        (config(channels=[100_000, 100_000, 100_000]), r"got encoder\.0\.0\.weight of \(2, 1, 3, 3, 3\) in place of"),
    ],
)
def test_configs_that_are_damaged_or_hostile(saved: Path, text: str | bytes, message: str, unchecked: None) -> None:
    (saved / CONFIG).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"^from_pretrained: .*{message}") as error:
        from_pretrained(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("call", [lambda: save_pretrained(UNet3d(1, 2, NARROW), "x"), lambda: from_pretrained(".")])
def test_without_the_extra_the_error_says_what_to_install(call, monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    monkeypatch.chdir(saved)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r'needs safetensors\.torch .*; run pip install "\.\[hub\]" in a clone'):
        call()
