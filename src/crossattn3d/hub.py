"""Sharing a trained net: weights, config and model card in a folder, or in a repository of the Hugging Face Hub.

`model.safetensors`, `config.json` and `README.md`.

Nothing in them is unpickled or run. Needs the extra `hub`.
"""

import inspect
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossattn3d._card import model_card
from crossattn3d._extras import extra_module
from crossattn3d._version import __version__
from crossattn3d.ucanet import UCANet
from crossattn3d.unet import UNet3d

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

CLASSES: dict[str, type[UNet3d]] = {"UNet3d": UNet3d, "UCANet": UCANet}

#: No part of a config: modules cannot be written down, and how a net computes is for whoever loads it to choose.
LEFT_OUT = ("self", "skip", "backend", "use_checkpoint")

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def save_pretrained(model: UNet3d, folder: str | Path, *, card: str | None = None) -> None:
    """Write a net's weights, its arguments and a model card into a folder.

    `config.json` is the first file to go and the last to come, so that a folder that has one is whole.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.
        folder: made if it is not there; other files in it stay.
        card: Markdown that says what the net was trained on and what it scores. Without it a `README.md` that is there
            stays, and a new one says that this is not stated.

    Raises:
        ValueError: the net is of another class, or was changed so that its arguments do not make it.
        ImportError: safetensors is not installed.
        OSError: the folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> from crossattn3d import UCANet
        >>> net = UCANet(1, 3, channels=(4, 8)).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(net, folder, card="Trained on nothing yet.")
        ...     again = from_pretrained(folder)
        >>> x = torch.rand(1, 1, 4, 6, 8)
        >>> torch.equal(net(x), again(x))
        True
    """
    _save(model, Path(folder), card, Path(folder).name)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> UNet3d:
    """The net in a folder that `save_pretrained` has written, or in a repository of the Hub, in eval mode on the CPU.

    Args:
        source: a folder, or the name of a repository, `owner/name`.
        revision: branch, tag or commit of the repository.

    Returns:
        A `UNet3d` or `UCANet`, its weights in the precision in which they were saved. Deep supervision is switched
        off: `net.deep_supervision = True` to train further with it.

    Raises:
        ValueError: there is nothing, or it is damaged, does not fit together, or is not a net of this package.
        ImportError: safetensors, or huggingface_hub for a repository, is not installed.
    """
    folder = _folder(source, revision)
    net = _described(folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS)
    differences = _differences(net.state_dict(), tensors)
    if differences:
        raise ValueError(
            f"from_pretrained: {folder / WEIGHTS}: expected the weights of the {type(net).__name__} in {CONFIG}; "
            f"got {differences}; are both of the same net?"
        )
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) != 1 or not dtypes <= set(DTYPES):
        got = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(
            f"from_pretrained: {folder / WEIGHTS}: expected weights of one precision, 16 to 64 bits; got {got}; "
            f"convert them to float32"
        )
    # Until here no memory was taken for what the config asks for.
    net = net.to(dtypes.pop()).to_empty(device="cpu")
    net.load_state_dict(tensors)
    net.deep_supervision = False
    return net.eval()


def push_to_hub(
    model: UNet3d,
    repository: str,
    *,
    card: str | None = None,
    private: bool | None = None,
    message: str = "Upload a crossattn3d net",
) -> str:
    """Upload a net to a repository of the Hugging Face Hub, which is made if it is not there.

    It goes to where, and as whom, huggingface_hub is set up: `hf auth login`, or the variable `HF_TOKEN`.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.
        repository: `owner/name`.
        card: as for `save_pretrained`; without it a model card that the repository has stays.
        private: whether a new repository is; as the owner's settings say if None.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        ValueError: as `save_pretrained`.
        ImportError: safetensors or huggingface_hub is not installed.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
    """
    api = extra_module("push_to_hub", "huggingface_hub", "hub").HfApi(library_name="crossattn3d")
    with tempfile.TemporaryDirectory() as folder:
        _save(model, Path(folder), card, repository)
        made = api.create_repo(repository, private=private, exist_ok=True)
        keeps_card = card is None and api.file_exists(made.repo_id, CARD)
        commit = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            commit_message=message,
            ignore_patterns=[CARD] if keeps_card else None,
        )
    return str(commit.commit_url)


def _save(model: UNet3d, folder: Path, card: str | None, source: str) -> None:
    safetensors = extra_module("save_pretrained", "safetensors.torch", "hub")
    config = config_of(model)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as name:
        new = Path(name)
        try:
            safetensors.save_file(tensors, new / WEIGHTS, metadata={"format": "pt"})
        except Exception as error:
            raise OSError(f"save_pretrained: {folder}: cannot be written ({error}); is the disk full?") from error
        (new / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if card is not None or not (folder / CARD).exists():
            count = sum(p.numel() for p in model.parameters())
            (new / CARD).write_text(model_card(config, count, source, card), encoding="utf-8")
        for path in new.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        (folder / CONFIG).unlink(missing_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == CONFIG):
            path.replace(folder / path.name)


def config_of(model: UNet3d) -> dict[str, Any]:
    """What makes a net of the same layers again, as `config.json` has it: its class and its arguments.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.

    Raises:
        ValueError: the net is of another class, or was changed so that its arguments do not make it.
    """
    kind = type(model)
    if CLASSES.get(kind.__name__) is not kind:
        raise ValueError(
            f"save_pretrained: expected a UNet3d or a UCANet; got {kind.__name__}; take the net out of what wraps it "
            f"(.module of DistributedDataParallel, ._orig_mod of torch.compile), or save the state_dict of other nets"
        )
    arguments = {name: getattr(model, name) for name in _parameters(kind)}
    # The attribute may have been switched off after training.
    arguments["deep_supervision"] = len(model.auxiliary_heads) > 0
    with torch.device("meta"):
        again = kind(**arguments)
    if [type(m) for m in again.modules()] != [type(m) for m in model.modules()] or _differences(
        again.state_dict(), model.state_dict()
    ):
        raise ValueError(
            f"save_pretrained: expected a {kind.__name__} as its arguments make it; got one with other layers; was it "
            f"folded, wrapped, or made with a skip of your own? Save it before, or save its state_dict"
        )
    return {"library": "crossattn3d", "version": __version__, "class": kind.__name__, "arguments": arguments}


def _parameters(kind: type[UNet3d]) -> dict[str, inspect.Parameter]:
    """The arguments that a config has."""
    found = inspect.signature(kind.__init__).parameters
    return {name: parameter for name, parameter in found.items() if name not in LEFT_OUT}


def _folder(source: str | Path, revision: str | None) -> Path:
    """The folder, or the copy of the repository that huggingface_hub keeps."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if isinstance(source, Path) or source.count("/") != 1 or folder.exists():
        raise ValueError(
            f"from_pretrained: expected a folder, or a repository as owner/name; got {str(source)!r}; does it exist?"
        )
    hub = extra_module("from_pretrained", "huggingface_hub", "hub")
    try:
        return Path(hub.snapshot_download(source, revision=revision, allow_patterns=[WEIGHTS, CONFIG]))
    except Exception as error:  # its errors have no base class of their own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"from_pretrained: {source}: no such folder, and not to be had from the Hub ({reason}); check the name, "
            f"and log in for a private one (hf auth login)"
        ) from error


def _described(path: Path) -> UNet3d:
    """The net of a config, without memory for its weights."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"from_pretrained: {path}: cannot be read ({error.strerror}); is the folder whole?") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"from_pretrained: {path}: is not valid JSON ({error}); copy it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("arguments"), dict):
        raise ValueError(
            f"from_pretrained: {path}: expected class and arguments of a net; was it written by crossattn3d?"
        )
    name, arguments = config.get("class"), config["arguments"]
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(
            f"from_pretrained: {path}: expected the class UNet3d or UCANet; got {name!r}; "
            f"written by crossattn3d {config.get('version')}?"
        )
    known = _parameters(CLASSES[name])
    for key, value in arguments.items():
        if key not in known:
            raise ValueError(
                f"from_pretrained: {path}: {name} has no argument {key!r}; "
                f"written by crossattn3d {config.get('version')}, a newer one?"
            )
        default = known[key].default
        if isinstance(default, (bool, int, str)) and type(value) is not type(default):
            raise ValueError(f"from_pretrained: {path}: expected {key} like {default!r}; got {value!r}; mend it")
    try:
        with torch.device("meta"):
            return CLASSES[name](**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"from_pretrained: {path}: makes no {name} ({reason}); mend it or copy it again") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    safetensors = extra_module("from_pretrained", "safetensors.torch", "hub")
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
            raise ValueError(
                f"from_pretrained: {path}: is a pickle by another name, which could run anything when it is read; "
                f"ask for safetensors"
            )
        tensors: dict[str, Tensor] = safetensors.load_file(path)
    except OSError as error:
        raise ValueError(f"from_pretrained: {path}: cannot be read ({error.strerror}); is the folder whole?") from error
    except extra_module("from_pretrained", "safetensors", "hub").SafetensorError as error:
        raise ValueError(
            f"from_pretrained: {path}: is not a safetensors file or is damaged ({error}); copy it again"
        ) from error
    return tensors


def _differences(expected: dict[str, Tensor], got: dict[str, Tensor]) -> str:
    """In words, where names, shapes or kinds of two sets of tensors differ; empty if nowhere."""
    missing, more = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    if missing:
        return f"no {missing[0]} ({len(missing)} missing)"
    if more:
        return f"{more[0]} besides ({len(more)} too many)"
    for name, tensor in expected.items():
        if tensor.shape != got[name].shape:
            return f"{name} of {tuple(got[name].shape)} in place of {tuple(tensor.shape)}"
        if tensor.is_floating_point() != got[name].is_floating_point():
            return f"{name} of {got[name].dtype} in place of {tensor.dtype}"
    return ""
