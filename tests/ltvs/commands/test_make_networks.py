"""Making the networks of the examples: commands that exist, in rounds that go on from each other."""

import shlex
from pathlib import Path

import pytest
import tyro

import make_networks
from ltvs.runtime.errors import InputError
from make_networks import NetworkRunSettings, main
from prepare_ltvs import PrepareSettings
from ship_networks import ShipSettings
from train_ltvs import TrainSettings


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were given, as words, none of which ran."""
    commands: list[list[str]] = []

    def words(*parts: str | Path) -> None:
        commands.append([word for part in parts for word in shlex.split(str(part))])

    def in_parallel(several: list[tuple[str | Path, ...]], log: Path) -> None:
        for one in several:
            words(*one)

    monkeypatch.setattr(make_networks, "command", words)
    monkeypatch.setattr(make_networks, "in_parallel", in_parallel)
    return commands


def test_rounds_go_on_from_each_other(given: list[list[str]], tmp_path: Path) -> None:
    main(NetworkRunSettings(tmp_path, maps=3, rounds=2, stage_1_epochs=4, stage_2_epochs=5, workers=0))
    prepare, *training, ship = given
    assert prepare[0] == "prepare_ltvs.py"
    prepared = tyro.cli(PrepareSettings, args=prepare[1:])
    assert prepared.maps == 3
    settings = [tyro.cli(TrainSettings, args=words[1:]) for words in training]
    assert [words[0] for words in training] == ["train_ltvs.py"] * 4
    assert [one.stage for one in settings] == ["1", "2"] * 2
    assert [one.epochs for one in settings] == [4, 5] * 2
    assert [one.init for one in settings] == [None, None, tmp_path / "round1", tmp_path / "round1"]
    assert [one.output for one in settings] == [tmp_path / f"round{k}" for k in (1, 1, 2, 2)]
    assert [one.seed for one in settings] == [0, 0, 1, 1]
    assert all((one.batch_size, one.workers) == (1, 0) for one in settings)
    assert settings[2].learning_rate == settings[0].learning_rate / 2
    assert all(one.render and one.data == prepared.output == tmp_path / "data" for one in settings)
    # Patches of stage 1 are whole slices of the prepared grid.
    assert settings[0].patch[1:] == (prepared.pixels, prepared.pixels)
    shipped = tyro.cli(ShipSettings, args=ship[1:])
    assert (shipped.run, shipped.output) == (tmp_path / "round2", tmp_path / "portal-venous-ct")


@pytest.mark.parametrize("name", ["maps", "rounds", "stage_1_epochs", "stage_2_epochs", "batch_size"])
def test_nothing_is_made_of_nothing(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}: expected 1 or more; got 0"):
        NetworkRunSettings(**{name: 0})
