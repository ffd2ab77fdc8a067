"""Networks from settings, and weights to a file and back."""

import dataclasses
from pathlib import Path

import pytest
import torch

from crossattn3d import CSCA, ChannelCrossAttention3d, ConcatSkip, SliceCrossAttention3d
from ltvs.model.networks import (
    NetworkSettings,
    load_network,
    make_network,
    network_settings,
    read_settings,
    save_weights,
    settings_json,
    weight_notes,
)
from ltvs.runtime.errors import InputError

SMALL = NetworkSettings(classes=3, skip="csca", channels=(2, 3, 4), score_norm="mean", residual=True, norm="instance")


@pytest.mark.parametrize(
    ("skip", "kind"),
    [("csca", CSCA), ("cca", ChannelCrossAttention3d), ("sca", SliceCrossAttention3d)],
)
def test_the_setting_chooses_the_skip(skip: str, kind: type) -> None:
    net = make_network(dataclasses.replace(SMALL, skip=skip))
    assert all(type(joined) is kind for joined in net.skips)


def test_a_u_net_concatenates() -> None:
    net = make_network(network_settings(2, "unet3d", channels=(2, 3), norm="group", skip="cca"))
    assert (net.channels, net.out_channels, net.norm) == ((2, 3), 2, "group")
    assert all(type(joined) is ConcatSkip for joined in net.skips)


@pytest.mark.parametrize("network", ["ucanet", "unet3d"])
def test_a_backend_in_the_environment_that_is_none_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    settings = dataclasses.replace(SMALL, network=network)
    save_weights(make_network(settings), tmp_path / "w.safetensors")
    monkeypatch.setattr("crossattn3d.kernels.backends.IN_PLACE_OF_AUTO", "gpu")
    reason = r"^CROSSATTN3D_BACKEND: expected auto, .* or nothing; got 'gpu'; unset or"
    with pytest.raises(InputError, match=reason):
        make_network(settings)
    with pytest.raises(InputError, match=reason):
        load_network(settings_json(settings), tmp_path / "w.safetensors")


def test_settings_reach_the_network() -> None:
    net = make_network(SMALL)
    assert (net.channels, net.out_channels, net.norm) == ((2, 3, 4), 3, "instance")
    assert (net.score_norm, net.residual, net.gated) == ("mean", True, False)
    assert make_network(dataclasses.replace(SMALL, gated=True)).gated


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        network_settings(2, "unet3d", channels=(2, 3), norm="group", skip="cca", residual=False),
        network_settings(3, "vnet", channels=(2, 3)),
    ],
)
def test_settings_come_back(settings: NetworkSettings) -> None:
    assert read_settings(settings_json(settings)) == settings


def test_settings_that_a_network_lacks_are_not_written() -> None:
    assert settings_json(network_settings(3, "vnet", channels=(2, 3))) == {"classes": 3, "network": "vnet"}


def test_settings_of_when_a_u_net_was_a_skip() -> None:
    before = {"channels": [2, 3], "norm": "instance", "score_norm": "mean", "residual": False}
    unet = read_settings({"classes": 2, "skip": "concat", **before})
    assert unet == network_settings(2, "unet3d", channels=(2, 3), norm="instance")
    ucanet = read_settings({"classes": 3, "skip": "cca", **before})
    assert ucanet == NetworkSettings(3, "ucanet", (2, 3), "instance", "cca", "mean", False)


def test_weights_come_back_exactly(tmp_path: Path) -> None:
    net = make_network(SMALL)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    save_weights(net, tmp_path / "w.safetensors")
    loaded = load_network(settings_json(SMALL), tmp_path / "w.safetensors")
    x = torch.randn(1, 1, 4, 8, 12)
    assert not loaded.training
    torch.testing.assert_close(loaded(x), net.eval()(x), rtol=0, atol=0)


def test_weights_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"w\.safetensors: cannot be read"):
        load_network(settings_json(SMALL), path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(InputError, match=r"is not a safetensors file or is damaged \(.*\); copy it again"):
        load_network(settings_json(SMALL), path)
    save_weights(make_network(SMALL), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a safetensors file or is damaged"):
        load_network(settings_json(SMALL), path)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="does not fit the settings beside it"):
        load_network(settings_json(dataclasses.replace(SMALL, channels=(2, 3, 5))), path)
    with pytest.raises(InputError, match="does not fit the settings beside it"):
        load_network({"classes": 3}, path)


def test_notes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(make_network(SMALL), path, {"epoch": "3", "dice": "0.5"})
    assert weight_notes(path) == {"epoch": "3", "dice": "0.5"}
    for content in (b"", b"not safetensors", b"\xff" * 99, (2).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"w\.safetensors: is missing or damaged \(.+\); train it again"):
            weight_notes(path)
    path.unlink()
    with pytest.raises(InputError, match=r"w\.safetensors: is missing or damaged"):
        weight_notes(path)


def test_weights_load_from_a_disk_that_cannot_map_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own functions for files map them into memory."""
    save_weights(make_network(SMALL), tmp_path / "w.safetensors", {"epoch": "3"})

    def refused(*_: object, **__: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr("safetensors.safe_open", refused)
    monkeypatch.setattr("safetensors.torch.safe_open", refused)
    load_network(settings_json(SMALL), tmp_path / "w.safetensors")
    assert weight_notes(tmp_path / "w.safetensors") == {"epoch": "3"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "unet"}, r"network: expected unet2d, .*, ucanet; got 'unet'"),
        ({"skip": "concat"}, r"skip: expected csca, cca, sca; got 'concat'"),
        ({"norm": "layer"}, r"norm: expected batch, instance, group; got 'layer'"),
        ({"score_norm": "softmax"}, r"score_norm: expected none, .*; got 'softmax'"),
        ({"residual": "false"}, r"residual: expected True, False; got 'false'"),
    ],
)
def test_settings_of_a_file_that_name_no_choice_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(make_network(SMALL), path)
    with pytest.raises(InputError, match=rf"w\.safetensors: does not fit the settings beside it \({message}"):
        load_network(settings_json(SMALL) | changes, path)
