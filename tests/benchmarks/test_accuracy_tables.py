"""Tables, pages and plot of the accuracy study."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.accuracy import collect, dice_plot, run_files, tables
from support.markdown_tables import rows_of
from support.study_runs import MACHINE, write_runs


@pytest.fixture
def whole(tmp_path: Path) -> dict:
    return json.loads(collect.text(collect.study(run_files.read([write_runs(tmp_path / "runs")]))))


GROUPS = {"Skips": ("concat", "no-skip"), "Scores": ("instance", "mean", "none", "concat")}


def test_the_table_of_results(whole: dict) -> None:
    found = rows_of(tables.results_table(whole, "all", ("instance", "concat", "mean", "none", "no-skip")))
    assert list(found) == ["instance", "concat", "mean", "none", "no-skip"]
    concat, instance = found["concat"], found["instance"]
    assert (concat["seeds"], concat["vessel Dice"], concat["step time, ratio"]) == ("3", "51.4 ± 1.0", "1.00")
    # Of 4 cases that have tumors.
    assert (instance["seeds"], instance["tumor Dice"], instance["step time, ratio"]) == ("2", "30.4 ± 0.4", "0.50")
    assert (instance["vessel Dice, plain cases"], instance["parameters"]) == ("60.8 ± 0.7", "123,456")
    assert instance["memory, MiB"] == "812"
    assert (found["mean"]["seeds"], found["mean"]["vessel Dice"]) == ("1, 1 failed", "40.4")
    assert (found["none"]["seeds"], found["none"]["vessel Dice"], found["none"]["parameters"]) == (
        "1 failed",
        "",
        "123,456",
    )
    assert not any(list(found["no-skip"].values())[1:]), "what was not run stays empty"


def test_the_paper_s_figures_stand_beside_ours(whole: dict) -> None:
    found = rows_of(tables.paper_table(whole, "all"))
    assert list(found) == ["concat", "sca", "cca", "csca"]
    ours = rows_of(tables.results_table(whole, "all", ("concat",)))["concat"]
    assert found["concat"]["here, `none`"] == f"{ours['vessel Dice']} / {ours['tumor Dice']}"
    assert (found["sca"]["the paper"], found["sca"]["here, `none`"]) == ("65.2 / 84.2", "")


def test_time_is_compared_on_one_machine(whole: dict) -> None:
    whole["machines"].append(MACHINE | {"name": "another"})
    for run in whole["runs"]:
        if run["variant"] == "instance" and run["seed"] == 1:
            run |= {"machine": 1, "seconds_per_step": 99.0}
        if run["variant"] == "mean":
            run["machine"] = 1
    found = rows_of(tables.results_table(whole, "all", ("instance", "mean")))
    assert (found["instance"]["step time, ratio"], found["mean"]["step time, ratio"]) == ("0.50", "")


def test_the_table_of_sizes_takes_the_same_cases_and_seeds(whole: dict) -> None:
    found = rows_of(tables.sizes_table(whole, "all", ("concat", "no-skip")))
    # Two of the cases were predicted at both sizes, with Dice of 0.1 less.
    expected = {"vessel, 0.25": "41.1 ± 1.0", "vessel, 1": "51.1 ± 1.0", "vessel, 4": ""}
    assert found["concat"].items() >= expected.items()
    assert "no-skip" not in found
    del next(run for run in whole["runs"] if run["variant"] == "concat" and run["seed"] == 2)["scores"]["0.25"]
    assert rows_of(tables.sizes_table(whole, "all", ("concat",)))["concat"]["vessel, 1"] == "50.6 ± 0.7"
    for run in whole["runs"]:
        run["scores"].pop("0.25", None)
    assert tables.sizes_table(whole, "all", ("concat",)) == ""


def test_the_tables_of_probes(whole: dict) -> None:
    variants = ("concat", "instance", "no-skip")
    found = rows_of(tables.probes_table(whole, "all", variants, "entropy"))
    assert found == {
        "instance, CCA": {"variant": "instance, CCA", "16 x 48 x 48": "0.90 / 0.90", "16 x 96 x 96": "0.90 / 0.75"},
        "instance, SCA": {"variant": "instance, SCA", "16 x 48 x 48": "0.25 / 0.25", "16 x 96 x 96": "0.25 /"},
    }
    assert "| 0.5 / 0.5 | 0.5 / 1 |\n" in (spread := tables.probes_table(whole, "all", variants, "spread"))
    assert "| 12,350 / 12,350 | 12,350 /  |\n" in spread
    assert tables.probes_table(whole, "all", ("concat",), "entropy") == ""


def test_the_table_of_pairs_is_turned_to_the_baseline(whole: dict) -> None:
    for baseline, variant, difference in (("concat", "instance", "+10.0"), ("instance", "concat", "-10.0")):
        row = rows_of(tables.pairs_table(whole, "all", baseline, "vessel", ("none", variant, baseline)))[variant]
        assert (row["difference"], row["plain cases"], row["seeds"], row["cases"]) == (difference, difference, "2", "5")
        assert (row["95% over cases"], row["p"], row["p, Holm"]) == (f"{difference} to {difference}", "0.062", "0.19")
    one_seed = rows_of(tables.pairs_table(whole, "all", "concat", "vessel", ("mean",)))["mean"]
    assert (one_seed["seeds"], one_seed["95% over seeds and cases"]) == ("1", "")
    assert tables.pairs_table(whole, "all", "no-skip", "vessel", ("concat",)) == ""
    rows = [row for row in whole["comparisons"] if (row["a"], row["b"]) == ("concat", "instance")]
    rows[0] |= {"interval": [-0.12, -0.07], "p": 1e-7}
    turned = tables.less(whole, "all", "instance", "concat", "vessel")
    assert (turned["a"], turned["interval"], turned["rank_biserial"]) == ("instance", [0.07, 0.12], 1)
    assert "+7.0 to +12.0 | < 0.0001" in tables.pairs_table(whole, "all", "concat", "vessel", ("instance",))


def test_what_the_pages_hold(whole: dict) -> None:
    results, details = tables.results(whole, GROUPS), tables.details(whole, GROUPS, against=("concat", "instance"))
    for part in ("#### Skips", "#### Scores", "8 runs", "steps 250", "| no-skip |"):
        assert part in results
    for part in ("#### Patches of other sizes", "#### Entropy", "vs `concat`, tumor", "vs `instance`, vessel"):
        assert part in details
    for part in (results, details):
        assert tables.TRAINED_ON["plain"] not in part, "nothing was trained so"
    with pytest.raises(ValueError, match=r"tables: instance, none in no group, .* add to GROUPS in variants.py"):
        tables.results(whole, {"Some": ("concat", "mean")})


def test_networks_trained_on_less_are_in_one_table(whole: dict) -> None:
    for run in whole["runs"]:
        if run["variant"] in ("mean", "concat"):
            run["data"] = "plain"
    text = tables.results(whole, GROUPS)
    _, part = text.split(tables.TRAINED_ON["plain"])
    assert list(rows_of(part.split("All variants\n\n")[1])) == ["concat", "mean"]


def test_the_docs_show_the_study() -> None:
    whole = json.loads(tables.RESULT.read_text(encoding="utf-8"))
    shown = pages.parts((tables.DOCS / "appendix" / "study.md").read_text(encoding="utf-8"), tables.MAKER)[1]
    assert shown == tables.page(whole, tables.TITLED)


def test_the_command_writes_the_page(whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "cpu.json"
    page = tmp_path / "appendix" / "study.md"
    page.parent.mkdir()
    page.write_text(f"before\n{pages.begin(tables.MAKER)}{pages.END}after\n", encoding="utf-8")
    result.write_text(collect.text(whole), encoding="utf-8")
    for name, value in {"DOCS": tmp_path, "RESULT": result, "TITLED": GROUPS}.items():
        monkeypatch.setattr(tables, name, value)
    monkeypatch.setattr("sys.argv", ["tables"])
    tables.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert tables.page(whole, GROUPS) in text


def test_the_plot(whole: dict, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("images/one.svg", "images/two.svg")]
    for path in paths:
        dice_plot.draw(whole, "all", tables.ordered(GROUPS), "concat", path)
    root = ElementTree.parse(paths[0]).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    texts = [
        ("".join(node.itertext()).strip(), node.get("style", "")) for node in root.iter() if node.tag.endswith("text")
    ]
    words = [word for word, _ in texts]
    assert [word for word in words if word in ("concat", "instance", "mean", "none")] == [
        "concat",
        "instance",
        "mean",
        "none",
    ]
    assert "no-skip" not in words
    assert words.count("failed") == 2
    assert {"vessel", "tumor", "Dice, %"} <= set(words)
    sizes = [float(size) for _, style in texts for size in re.findall(r"([0-9.]+)px", style)]
    assert len(sizes) == len(texts)
    # In units of the plot's width in points; a phone shows it at three quarters of that.
    assert min(sizes) * 0.75 >= 8


def test_the_plot_says_what_is_left_of_it(whole: dict, tmp_path: Path) -> None:
    for run in whole["runs"]:
        if run["variant"] == "instance":
            dice = run["scores"]["1"]["vessel"]["dice"]
            run["scores"]["1"]["vessel"]["dice"] = [0.05 * (1 + run["seed"])] * len(dice)
    dice_plot.draw(whole, "all", tables.ordered(GROUPS), "concat", tmp_path / "plot.svg")
    words = [node.text for node in ElementTree.parse(tmp_path / "plot.svg").iter() if node.tag.endswith("text")]
    # Means of 5 and 10 percent; the panel begins at 10.
    assert [word.strip() for word in words if "◂" in word] == ["◂ 5"]
