"""Sharing a trained net: weights, config and model card in a folder, or in a repository of the Hugging Face Hub.

The files are `model.safetensors`, `config.json` and `README.md`. Nothing in them is unpickled or executed. Needs the
extra `hub`.
"""

import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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

#: Not part of a config: modules cannot be written to JSON, and whoever loads a net chooses how it computes.
LEFT_OUT = ("skip", "backend", "use_checkpoint")

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def save_pretrained(model: UNet3d, folder: str | Path, *, card: str | None = None) -> None:
    """Write a net's weights, its arguments and a model card into a folder.

    The function removes `config.json` first and writes it last, so a folder that has one is complete.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.
        folder: the folder, made if missing. Other files in it stay.
        card: Markdown that states what the net was trained on and how it scores. With None, an existing `README.md`
            stays, and a new one says that this is not stated.

    Raises:
        ValueError: the net is of another class, or its arguments do not rebuild it, since it was changed.
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
    """Load a net from a folder that `save_pretrained` wrote, or from a repository of the Hugging Face Hub.

    Args:
        source: the folder, or the name of a repository, `owner/name`.
        revision: branch, tag or commit of the repository.

    Returns:
        A `UNet3d` or `UCANet` on the CPU, in eval mode and in the precision of the saved weights. Deep supervision is
        off. Set `net.deep_supervision = True` to continue training with it.

    Raises:
        ValueError: there is nothing, or it is damaged, inconsistent, or no net of this package.
        ImportError: safetensors, or huggingface_hub for a repository, is not installed.
    """
    folder = _folder(source, revision)
    net = _net_of_config(folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS)
    who = f"from_pretrained: {folder / WEIGHTS}"
    if difference := _difference(net.state_dict(), tensors):
        raise ValueError(
            f"{who}: expected the weights of the {type(net).__name__} in {CONFIG}; got {difference}; are both of the "
            "same net?"
        )
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) != 1 or not dtypes <= set(DTYPES):
        got = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"{who}: expected weights of one precision, 16 to 64 bits; got {got}; convert them to float32")
    # Only now is memory taken for the layers that the config asks for.
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
    """Upload a net to a repository of the Hugging Face Hub. A missing repository is made.

    `hf auth login` or the variable `HF_TOKEN` sets the account.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.
        repository: the name of the repository, `owner/name`.
        card: as for `save_pretrained`. With None, the repository's own model card stays.
        private: whether a new repository is private. None follows the owner's settings.
        message: the commit message.

    Returns:
        The URL of the commit.

    Raises:
        ValueError: as for `save_pretrained`.
        ImportError: safetensors or huggingface_hub is not installed.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
    """
    api = extra_module("push_to_hub", "huggingface_hub", "hub").HfApi(library_name="crossattn3d")
    with tempfile.TemporaryDirectory() as folder:
        _save(model, Path(folder), card, repository)
        made = api.create_repo(repository, private=private, exist_ok=True)
        ignored = [CARD] if card is None and api.file_exists(made.repo_id, CARD) else None
        commit = api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, commit_message=message, ignore_patterns=ignored
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
            # Not `save_file`, whose files only their owner may read.
            (new / WEIGHTS).write_bytes(safetensors.save(tensors, metadata={"format": "pt"}))
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
    """Return what `config.json` holds: the class and the arguments that rebuild a net's layers.

    Args:
        model: a `UNet3d` with concatenation, or a `UCANet`.

    Raises:
        ValueError: the net is of another class, or its arguments do not rebuild it, since it was changed.
    """
    kind = type(model)
    if CLASSES.get(kind.__name__) is not kind:
        raise ValueError(
            f"save_pretrained: expected a UNet3d or a UCANet; got {kind.__name__}; take the net out of its wrapper "
            "(.module of DistributedDataParallel, ._orig_mod of torch.compile), or save the state_dict of other nets"
        )
    arguments = {name: getattr(model, name) for name in _parameters(kind)}
    # The attribute may have been switched off after training.
    arguments["deep_supervision"] = len(model.auxiliary_heads) > 0
    with torch.device("meta"):
        rebuilt = kind(**arguments)
    same_layers = [type(m) for m in rebuilt.modules()] == [type(m) for m in model.modules()]
    if not same_layers or _difference(rebuilt.state_dict(), model.state_dict()):
        raise ValueError(
            f"save_pretrained: expected a {kind.__name__} as its arguments make it; got one with other layers; was it "
            "folded, wrapped, or made with a skip of your own? Save it before that, or save its state_dict"
        )
    return {"library": "crossattn3d", "version": __version__, "class": kind.__name__, "arguments": arguments}


def _parameters(kind: type[UNet3d]) -> dict[str, inspect.Parameter]:
    """Return the arguments that a config holds."""
    found = inspect.signature(kind).parameters
    return {name: parameter for name, parameter in found.items() if name not in LEFT_OUT}


def _folder(source: str | Path, revision: str | None) -> Path:
    """Return the folder, or the local copy of the repository that huggingface_hub keeps."""
    if not isinstance(source, (str, Path)) or source == "":
        raise ValueError(
            f"from_pretrained: expected a folder, or a repository as owner/name; got {source!r}; give its name"
        )
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
    except Exception as error:  # its errors have no common base class
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"from_pretrained: {source}: no such folder, and not available from the Hub ({reason}); check the name, "
            "and log in for a private one (hf auth login)"
        ) from error


def _net_of_config(path: Path) -> UNet3d:
    """Return the net that a config describes, without memory for its weights."""
    who = f"from_pretrained: {path}"
    with _read_errors(who, (ValueError, RecursionError), "is not valid JSON"):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("arguments"), dict):
        raise ValueError(f"{who}: expected class and arguments of a net; was it written by crossattn3d?")
    name, arguments, version = config.get("class"), config["arguments"], config.get("version")
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(f"{who}: expected the class UNet3d or UCANet; got {name!r}; written by crossattn3d {version}?")
    known = _parameters(CLASSES[name])
    for key, value in arguments.items():
        if key not in known:
            raise ValueError(f"{who}: {name} has no argument {key!r}; written by crossattn3d {version}, a newer one?")
        default = known[key].default
        if isinstance(default, (bool, int, str)) and type(value) is not type(default):
            raise ValueError(f"{who}: expected {key} like {default!r}; got {value!r}; correct it")
    try:
        with torch.device("meta"):
            return CLASSES[name](**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{who}: makes no {name} ({reason}); correct it or copy it again") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    who = f"from_pretrained: {path}"
    safetensors = extra_module("from_pretrained", "safetensors.torch", "hub")
    damaged = extra_module("from_pretrained", "safetensors", "hub").SafetensorError
    with _read_errors(who, (damaged,), "is not a safetensors file or is damaged"):
        with path.open("rb") as file:
            start = file.read(2)
        if start in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
            raise ValueError(
                f"{who}: is a pickle by another name, which could run anything when it is read; ask for safetensors"
            )
        tensors: dict[str, Tensor] = safetensors.load_file(path)
    return tensors


@contextmanager
def _read_errors(who: str, damaged: tuple[type[Exception], ...], description: str) -> Iterator[None]:
    """Raise errors of reading a file as ValueErrors that name it."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{who}: cannot be read ({error.strerror}); is the folder complete?") from error
    except damaged as error:
        raise ValueError(f"{who}: {description} ({error}); copy it again") from error


def _difference(expected: dict[str, Tensor], got: dict[str, Tensor]) -> str:
    """Describe the first difference in names, shapes or kinds between two sets of tensors; empty if there is none."""
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
