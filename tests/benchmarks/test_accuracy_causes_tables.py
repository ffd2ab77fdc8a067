"""Tables and picture of why nets score as they do."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.accuracy.causes import tables
from support.markdown_tables import rows_of


def net(variant: str, seed: int, recall: int) -> dict:
    level = {"decoder": 0.5 + seed, "encoder": 0.25}
    return {
        "variant": variant,
        "seed": seed,
        "gradients": {"start": [level, {"decoder": 0.0, "encoder": 1.0}], "end": [level, level]},
        "terms": [{"channel": 2.0, "slices": 0.125}, {"channel": 3.0, "slices": 0.5}],
        "maps": [{"channel": [[0.5, 0.5], [1.0, 0.0]], "slices": [[1.0]]}] * 2,
        "dice": {"vessel": 0.5 + seed / 100, "tumor": 0.6},
        "dice_frozen": {"vessel": 0.4, "tumor": 0.3},
        "found": {
            "vessels": {name: [recall, 200] for name in tables.CALIBERS},
            "tumors": {"darker": [10, 100, 4], "isodense": [10, 100, 3], "brighter": [0, 0, 0]},
            "taken_for": [[5, 0, 0], [2, 5, 1], [3, 1, 6]],
        },
    }


def without_attention(seed: int) -> dict:
    return net("concat", seed, 100) | {"terms": [{}, {}], "maps": [{}, {}]}


@pytest.fixture
def whole() -> dict:
    concat = without_attention(0)
    del concat["dice_frozen"]
    return {"nets": [concat, net("csca", 0, 20), net("csca", 1, 40)]}


def test_the_table_of_recall_and_confusion(whole: dict) -> None:
    found = rows_of(tables.found_table(tables.by_variant(whole)))
    assert found["concat"]["seeds"] == "1"
    assert found["concat"][f"vessels {tables.CALIBERS[0]}"] == "50.0"
    assert found["csca"][f"vessels {tables.CALIBERS[2]}"] == "15.0 ± 7.1"
    assert found["csca"]["isodense tumors (3)"] == "10.0 ± 0.0"
    assert found["csca"]["brighter tumors (0)"] == ""
    assert (found["concat"]["vessel labeled tumor"], found["concat"]["tumor labeled vessel"]) == ("12.5", "10.0")


def test_the_table_of_gradients(whole: dict) -> None:
    found = rows_of(tables.gradients_table(tables.by_variant(whole)))
    assert found["concat"]["to the decoder map, before training"] == "0.5 / 0"
    assert found["csca"]["to the decoder map, after"] == "1 / 1"
    assert found["csca"]["to the encoder map, before training"] == "0.25 / 1"


def test_the_table_of_frozen_attention_leaves_out_what_has_none(whole: dict) -> None:
    found = rows_of(tables.frozen_table(tables.by_variant(whole)))
    assert list(found) == ["csca"]
    row = found["csca"]
    assert (row["vessel Dice"], row["vessel Dice, frozen"]) == ("50.5 ± 0.7", "40.0 ± 0.0")
    assert (row["added by CCA"], row["added by SCA"]) == ("2 / 3", "0.12 / 0.5")


def test_the_picture_has_a_map_per_variant_skip_and_half(tmp_path: Path) -> None:
    path = tmp_path / "maps.svg"
    tables.draw({"a": net("a", 0, 1)["maps"], "b": net("b", 0, 1)["maps"]}, path)
    tree = ElementTree.parse(path)
    images = [element for element in tree.iter() if element.tag.endswith("image")]
    assert len(images) == 2 * 2 * 2
    titles = [element.text for element in tree.iter() if element.tag.endswith("text")]
    assert titles.count("CCA, 2 x 2") == titles.count("SCA, 1 x 1") == 2
    first = path.read_bytes()
    tables.draw({"a": net("a", 0, 1)["maps"], "b": net("b", 0, 1)["maps"]}, path)
    assert path.read_bytes() == first


def test_the_page_is_written_between_its_marks(whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, page = tmp_path / "causes.json", tmp_path / "appendix" / "study.md"
    page.parent.mkdir()
    monkeypatch.setattr(tables, "FILE", file)
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    monkeypatch.setattr(tables, "PLOT", tmp_path / "maps.svg")
    file.write_text(json.dumps(whole))
    monkeypatch.setattr("sys.argv", ["tables"])
    with pytest.raises(SystemExit, match=r"expected nets of one seed of csca-none, .*; found none"):
        tables.main()
    whole["nets"] += [net(name, 0, 1) for name in tables.DRAWN]
    file.write_text(json.dumps(whole))
    page.write_text(f"before\n{pages.begin(tables.MAKER)}{pages.END}after\n")
    tables.main()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    for title in ("Recall and confusion", "Gradient through the skip", "Attention frozen to its mean"):
        assert f"### {title}\n" in text
    assert (tmp_path / "maps.svg").exists()
