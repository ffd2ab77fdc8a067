"""The picture of the curves: loss and Dice are in it, a bad table is refused, and it is never half written."""

from pathlib import Path

import numpy as np
import pytest

from ltvs.runtime.errors import InputError
from ltvs.training.journal import draw_curves
from support.pictures import blue, full_disk, picture, yellow


def curves(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_curves_show_loss_and_dice(tmp_path: Path) -> None:
    source = curves(
        tmp_path / "curves.csv",
        "epoch,loss,dice_vessel,dice_tumor\n1,1.5,,\n2,1.2,0.4,0.7\n3,1.1,,\n4,0.9,0.5,0.8\n5,0.8,0.6,\n",
    )
    draw_curves(source, tmp_path / "out" / "a.png")
    pixels = picture(tmp_path / "out" / "a.png")
    assert 1600 <= pixels.shape[1] <= 2000
    middle = pixels.shape[1] // 2
    assert not yellow(pixels[:, :middle]).any()
    upper = pixels[: int(0.7 * pixels.shape[0]), middle:]  # above the legend
    assert min(yellow(upper).sum(), blue(upper).sum()) > 200
    assert np.nonzero(yellow(upper))[0].max() < np.nonzero(blue(upper))[0].min()


@pytest.mark.parametrize("text", ["epoch,loss\n1,2.0\n", "epoch,loss,dice_liver\n1,nan,\n2,,\n"])
def test_curves_without_dice_are_drawn(tmp_path: Path, text: str) -> None:
    draw_curves(curves(tmp_path / "curves.csv", text), tmp_path / "a.png")
    assert picture(tmp_path / "a.png").min() < 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns epoch, loss and dice_<class>; got none"),
        ("step,loss\n1,2\n", "expected the columns epoch, loss and dice_<class>; got step, loss"),
        ("epoch,loss,dice_liver\n", "has no epochs yet"),
        ("epoch,loss\n1,high\n", "expected a table of numbers"),
        ("epoch,loss\n1,2\n2\n", "expected a table of numbers"),
    ],
)
def test_bad_curves_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_curves(curves(tmp_path / "curves.csv", text), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_missing_curves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        draw_curves(tmp_path / "curves.csv", tmp_path / "a.png")


def test_a_picture_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch)
    source = curves(tmp_path / "curves.csv", "epoch,loss\n1,2.0\n")
    with pytest.raises(InputError, match=r"b\.png: cannot be written \(No space left on device\)"):
        draw_curves(source, tmp_path / "b.png")
    assert [file.name for file in tmp_path.iterdir()] == ["curves.csv"]
