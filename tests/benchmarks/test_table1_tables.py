"""The tables, pictures and pages that show the results of Table 1, rerun."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pages import replaced
from benchmarks.table1 import counts, page, tables
from benchmarks.table1.budgets import BUDGETS, COMMON_RATE
from benchmarks.table1.collect import best_rate, scores_of
from benchmarks.table1.pictures import draw_dice, draw_labels
from ltvs.model.systems.registry import TABLE_1
from ltvs.runtime.files import read_json, write_json
from support.markdown_tables import rows_of
from support.tiny_cases import tiny_case


def case(tumor: float | None, vessel: float, *, real: bool = False) -> dict:
    scores = {"tumor": {"dice": tumor, "iou": tumor and tumor / 2}, "vessel": {"dice": vessel, "iou": vessel / 2}}
    return {"real": real, **scores}


def report(seeds: tuple[int, ...] = (0,), rates: tuple[float, ...] = (COMMON_RATE,)) -> dict:
    """Results of two systems: the U-Net is 10 points of tumor Dice below UCA-Net, and 5 above in vessels."""
    about = {"name": "a CPU", "processors": 2, "versions": {"torch": "2"}, "commit": "abc"}
    runs = []
    for network, (tumor, vessel) in {"unet3d": (0.5, 0.65), "ucanet": (0.6, 0.6)}.items():
        for seed in seeds:
            for rate in rates:
                less = seed / 100 + (rate != COMMON_RATE) / 10
                cases = {str(i): case(tumor - less + i / 50, vessel - less) for i in range(3)}
                cases |= {"none": case(None, vessel - less), "ct": case(0.1, 0.2, real=True)}
                of_run = {"validation": tumor - less, "cases": cases, "made_with": about}
                runs.append({"network": network, "seed": seed, "rate": rate, **of_run})
    costs = {"parameters": 6_419_747, "flops": 2e9, "step_seconds": 1.234, "step_bytes": 3e9, "ct_seconds": 5.67,
             "ct_bytes": 8e8}  # fmt: skip
    budget = asdict(replace(BUDGETS["cpu"], seeds=seeds, rates=rates)) | {"epochs": 1, "real_steps": 600}
    return {"size": "cpu", "budget": budget, "runs": runs, "costs": {"unet3d": costs}, "machine": about}


def test_scores_and_empty_cells() -> None:
    found = rows_of(tables.scores_table(report()))
    assert list(found) == [printed.title for printed in TABLE_1.values()], "no row is left out"
    unet = found["3D U-Net"]
    assert (unet["tumor Dice"], unet["tumor IoU"], unet["vessel Dice"]) == ("52.0", "26.0", "65.0")
    assert (unet["parameters, M"], found["UCA-Net"]["parameters, M"]) == ("6.42", "")
    assert set(found["3D V-Net"].values()) == {"3D V-Net", ""}
    assert rows_of(tables.scores_table(report(), real=True))["UCA-Net"]["vessel Dice"] == "20.0"
    alone = report()
    for run in alone["runs"]:
        del run["cases"]["ct"]
    assert tables.scores_table(alone, real=True) == ""
    assert rows_of(tables.scores_table(report(seeds=(0, 1))))["3D U-Net"]["vessel Dice"] == "64.5 ± 0.7"


def lines_of(table: str) -> dict[str, list[str]]:
    """Cells by system; headings may be the same."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines[2:]}


def test_beside_the_paper() -> None:
    found = lines_of(tables.paper_table(report()))
    assert list(found) == [printed.title for printed in TABLE_1.values()]
    assert found["3D U-Net"] == ["80.36", "52.0", "66.00", "65.0"]
    assert found["3D V-Net"] == ["83.60", "", "65.53", ""]
    several = lines_of(tables.paper_table(report(seeds=(0, 1))))
    assert several["3D U-Net"] == ["80.36", "51.5", "6", "2", "66.00", "64.5", "5", "1"]
    assert several["3D V-Net"] == ["83.60", "", "3", "", "65.53", "", "6", ""]


def test_one_seed_cannot_rank_and_says_so() -> None:
    assert "**One seed cannot rank the systems**" in tables.text(report())
    assert "**Dice and IoU on one real CT (ct), which cannot rank them either**" in tables.text(report())
    assert "One seed cannot rank" not in tables.text(report(seeds=(0, 1)))
    assert "points of Dice, interval over cases**" in tables.text(report())
    assert "points of Dice, interval over seeds and cases**" in tables.text(report(seeds=(0, 1)))


def test_paired_tests_against_uca_net() -> None:
    found = rows_of(tables.tests_table(report(seeds=(0, 1))))
    assert list(found) == ["3D U-Net"]
    assert found["3D U-Net"]["tumor: difference (95%)"].startswith("-10.0 (")
    assert found["3D U-Net"]["vessel: difference (95%)"].startswith("5.0 (")
    without = report()
    without["runs"] = [run for run in without["runs"] if run["network"] != "ucanet"]
    assert tables.tests_table(without) == ""


def test_the_best_rate_is_chosen_by_validation() -> None:
    several = report(seeds=(0, 1), rates=(COMMON_RATE, 3e-4))
    for run in several["runs"]:
        if run["network"] == "unet3d" and run["rate"] == 3e-4:
            run["validation"] = 0.9
    assert best_rate(several, "unet3d") == 3e-4
    assert best_rate(several, "ucanet") == COMMON_RATE
    assert best_rate(several, "vnet") is None
    found = rows_of(tables.rates_table(several))
    assert (found["3D U-Net"]["rate"], found["3D U-Net"]["vessel Dice"]) == ("0.0003", "54.5 ± 0.7")
    assert (found["UCA-Net"]["rate"], found["3D V-Net"]["rate"]) == ("0.001", "")
    assert tables.rates_table(report()) == ""


def test_costs() -> None:
    found = rows_of(tables.costs_table(report()))
    assert list(found["3D U-Net"].values()) == ["3D U-Net", "6.42", "2", "1.23", "3.00", "5.7", "0.80"]
    assert set(found["UCA-Net"].values()) == {"UCA-Net", ""}


def test_scores_are_ordered_by_seed_and_case() -> None:
    mixed = report(seeds=(1, 0))
    for run in mixed["runs"]:
        run["cases"] = dict(reversed(run["cases"].items()))
    scores = scores_of(mixed, "ucanet", COMMON_RATE, "tumor", "dice", real=False)
    np.testing.assert_allclose(scores, [[60, 62, 64, np.nan], [59, 61, 63, np.nan]])


def test_pictures(tmp_path: Path) -> None:
    tiny = tiny_case("a")
    labels = tiny.liver + tiny.vessel + 2 * tiny.tumor
    draw_labels(tiny.ct, labels, {printed.title: labels for printed in TABLE_1.values()}, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
    draw_dice(report(), tmp_path / "dice.svg")
    drawn = (tmp_path / "dice.svg").read_text()
    assert "3D U-Net" in drawn
    assert "V-Net" not in drawn, "it was not run"


def test_where_the_paper_is_not_confirmed() -> None:
    here = "Here, these systems score higher than it:\n\n- tumor: none\n- vessel: 3D U-Net\n"
    assert tables.disagreement(report()) == f"\nIn the paper, UCA-Net has the highest Dice. {here}"
    assert here in tables.text(report())
    alone = report()
    alone["runs"] = [run for run in alone["runs"] if run["network"] != "ucanet"]
    assert tables.disagreement(alone) == ""


def test_each_commit_of_a_study_is_named() -> None:
    found = report(seeds=(0, 1))
    assert "On a CPU, 2 processors, PyTorch 2; commit abc." in tables.text(found)
    found["runs"][-1]["made_with"] = found["runs"][0]["made_with"] | {"commit": "def"}
    assert "On a CPU, 2 processors, PyTorch 2; commits abc, def." in tables.text(found)
    assert "commit abc." in tables.text({**found, "runs": []}), "of the command, before the first run is done"


def test_the_typical_phantom_is_in_the_middle() -> None:
    assert page.typical_phantom(report()) == "1", "of 0, 1 and 2; neither the real CT nor the phantom without a tumor"


def test_the_docs_show_the_results() -> None:
    result = read_json(page.RESULT)
    shown = page.PAGE.read_text(encoding="utf-8")
    assert replaced(shown, page.MAKER, tables.text(result)) == shown
    assert replaced(shown, f"{page.MAKER}, GPU", page.gpu_text()) == shown
    assert replaced(shown, f"{page.MAKER}, printed", tables.printed_table()) == shown
    assert replaced(shown, f"{page.MAKER}, counts", counts.table(counts.counted())) == shown
    readme = page.README.read_text(encoding="utf-8")
    assert replaced(readme, page.MAKER, tables.for_readme(result)) == readme


def test_the_page_shows_the_gpu_study_once_it_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "GPU_RESULT", tmp_path / "gpu.json")
    assert page.gpu_text() == "**It has not been run yet.**\n"
    found = report(seeds=(0, 1), rates=(COMMON_RATE, 3e-4))
    write_json(page.GPU_RESULT, found)
    assert page.gpu_text() == tables.text(found)
    assert "At the best of 2 learning rates" in page.gpu_text()


def test_the_docs_say_what_the_budget_is() -> None:
    budget, shown = BUDGETS["cpu"], page.PAGE.read_text(encoding="utf-8")
    d, h, w = budget.patch
    assert f"| {budget.maps} synthetic patients to train, " in shown
    assert f"; {budget.validation} phantoms to validate, {budget.test} to test |" in shown
    assert f"| {d}x{h}x{w} of about 2 mm, batch {budget.batch} |" in shown
    assert f"| {budget.real_steps} steps, " in shown
    assert f"- {budget.real_steps} steps are only the beginning of a training." in shown
    on_gpu = BUDGETS["gpu"]
    d, h, w = on_gpu.patch
    assert f"patches of {d}x{h}x{w}, {on_gpu.real_steps:,} steps, three seeds and three learning rates" in shown
    assert len(on_gpu.seeds) == len(on_gpu.rates) == 3
