"""Networks in half precision: they find the same, take half the space, and say nothing of where they were trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ltvs.dataset.layout import PreparedSet
from ltvs.model.networks import NetworkSettings, make_network, save_weights
from ltvs.model.saved import load_stage, load_unfolded
from ltvs.model.shipping import SHIPPED, ship_networks
from ltvs.model.stages import find_hu_offset, liver_region, network_input
from ltvs.runtime.errors import InputError

#: The largest relative error of a number that is rounded to float16.
HALF = 2.0**-11


@pytest.fixture(scope="module")
def shipped(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("networks") / "tiny"
    ship_networks(trained_run, output)
    return output


@pytest.mark.parametrize("stage", [1, 2])
def test_the_same_is_found(trained_run: Path, shipped: Path, stage: int) -> None:
    """Layers scale their input's relative error by about one and add that of their own weights.

    So logits may differ by as many roundings as there are layers, and labels where two logits are closer than twice
    that.
    """
    data = PreparedSet(trained_run.with_name("data"))
    case, window = data.case(stage, "a"), data.preparation.window
    hu, region = np.asarray(case.image), liver_region(np.asarray(case.labels), stage)
    x = torch.from_numpy(network_input(hu, region, window, find_hu_offset(hu, region, window)))[None, None]
    single, half = (load_stage(run, stage).net for run in (trained_run, shipped))
    with torch.inference_mode():
        expected, found = single(x)[0], half(x)[0]
    assert found.dtype == torch.float32
    layers = sum(isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d) for module in single.modules())
    tolerance = layers * HALF * expected.abs().max()
    assert 0 < (found - expected).abs().max() <= tolerance
    best = expected.topk(2, dim=0).values
    clear = best[0] - best[1] > 2 * tolerance
    assert clear.float().mean() > 0.9, "else there is little to compare"
    assert torch.equal(found.argmax(0)[clear], expected.argmax(0)[clear])


@pytest.mark.parametrize("stage", [1, 2])
def test_every_weight_is_the_nearest(trained_run: Path, shipped: Path, stage: int) -> None:
    single, half = (load_unfolded(run, stage)[0] for run in (trained_run, shipped))
    buffers = dict(half.named_buffers())
    assert any(name.endswith("running_var") for name in buffers)
    for (name, a), b in zip(single.state_dict().items(), half.state_dict().values(), strict=True):
        assert b.dtype == a.dtype, name
        assert torch.equal(b, a if name in buffers else a.half().float()), name


def test_what_is_in_it(trained_run: Path, shipped: Path) -> None:
    files = sorted(str(path.relative_to(shipped)) for path in shipped.rglob("*") if path.is_file())
    assert files == [f"stage{k}/{name}" for k in (1, 2) for name in ("best.safetensors", "settings.json")]
    for k in (1, 2):
        settings = json.loads((shipped / f"stage{k}" / "settings.json").read_text())
        trained = json.loads((trained_run / f"stage{k}" / "settings.json").read_text())
        assert settings == {key: trained[key] for key in ("format", "stage", "prediction")}
        assert str(trained_run.parent) not in (shipped / f"stage{k}" / "settings.json").read_text()


def test_a_folder_is_replaced_only_if_asked(trained_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "networks"
    size = ship_networks(trained_run, output)
    assert size == sum(path.stat().st_size for path in output.rglob("*.*"))
    weights = (output / "stage1" / "best.safetensors").read_bytes()
    (output / "README.md").write_text("a card")
    (output / "stage1" / "best.safetensors").write_bytes(b"old")
    with pytest.raises(InputError, match=r"networks: exists already; give another --output, or --overwrite"):
        ship_networks(trained_run, output)
    assert (output / "stage1" / "best.safetensors").read_bytes() == b"old"
    ship_networks(trained_run, output, overwrite=True)
    assert (output / "stage1" / "best.safetensors").read_bytes() == weights
    assert (output / "README.md").read_text() == "a card"
    assert [path.name for path in tmp_path.iterdir()] == ["networks"]


def test_other_folders_are_not_replaced(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"a folder of shipped networks to replace, got thesis/thesis\.tex in it"):
        ship_networks(trained_run, tmp_path / "thesis", overwrite=True)
    with pytest.raises(InputError, match=r"to replace, got a file or a link; give another --output"):
        ship_networks(trained_run, tmp_path / "thesis" / "thesis.tex", overwrite=True)
    assert (tmp_path / "thesis" / "thesis.tex").exists()


def test_a_run_is_no_folder_of_shipped_networks(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    with pytest.raises(InputError, match=r"to replace, got run/stage1/curves\.csv, .* in it; give another"):
        ship_networks(trained_run, run, overwrite=True)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("networks", r"is inside --run, which is never written to; give another folder"),
        ("networks/half", r"half: is inside --run, which is never written to"),
        (".", r"--run is inside, which is never written to; give another folder"),
    ],
)
def test_shipped_networks_are_not_shipped_into_themselves(
    trained_run: Path, tmp_path: Path, output: str, message: str
) -> None:
    ship_networks(trained_run, tmp_path / "networks")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match=message):
        ship_networks(tmp_path / "networks", tmp_path / output, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_run_that_cannot_be_shipped_leaves_nothing(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    shutil.rmtree(run / "stage2")
    with pytest.raises(InputError, match="no trained stage 2 here"):
        ship_networks(run, tmp_path / "networks")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_weights_beyond_half_precision(tmp_path: Path) -> None:
    net = make_network(NetworkSettings(classes=2, network="unet3d", channels=(2, 3)))
    with torch.no_grad():
        net.head.bias[0] = 65520.0
    with pytest.raises(InputError, match=r"expected weights that float16 can hold, .* larger ones in head\.bias"):
        save_weights(net, tmp_path / "w.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_the_networks_of_the_examples() -> None:
    if not (SHIPPED / "stage1").exists():
        pytest.skip("the networks are not there")
    assert (SHIPPED / "README.md").is_file()
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.safetensors")) <= 8e6
    for stage in (1, 2):
        assert set(json.loads((SHIPPED / f"stage{stage}" / "settings.json").read_text())) == {
            "format", "stage", "prediction"
        }  # fmt: skip
        load_stage(SHIPPED, stage)
