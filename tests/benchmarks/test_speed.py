"""The benchmark's own parts: what it counts, that it checks before it times, and that the docs show its results."""

import time

import pytest
import torch

from benchmarks.pages import replaced
from benchmarks.speed import nets, skips, tables
from benchmarks.time_and_memory import interleaved, peak_extra_memory

CPU = torch.device("cpu")
SKIP = skips.SkipCase(4, (4, 6, 7), "float32", "contiguous")


def test_calls_are_made_in_turns():
    order: list[str] = []
    timed = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, rounds=3)
    assert order == ["a", "a", "b", "b"] * 3
    assert [t.calls for t in timed.values()] == [3, 3]


def test_time_is_that_of_the_call_and_a_limit_ends_the_rounds_of_the_slow():
    timed = interleaved({"sleep": lambda: time.sleep(0.02), "pass": lambda: None}, CPU, rounds=50, limit=0.09)
    assert 0.02 <= timed["sleep"].low <= timed["sleep"].median <= timed["sleep"].high
    assert 2 <= timed["sleep"].calls < 50
    assert timed["pass"].calls == 50


def test_memory_is_what_exists_at_a_time_beyond_the_result():
    x = torch.ones(1000, dtype=torch.float64)

    def chain() -> torch.Tensor:
        y = x + 1
        y = y + 1  # two exist now, then one
        return y + 1

    # PyTorch makes tensors of the numbers that are added, too.
    assert peak_extra_memory(chain, CPU) == pytest.approx(8000, abs=64)
    assert peak_extra_memory(lambda: x + 1, CPU) == pytest.approx(0, abs=64)


def test_fast_paths_are_compared_before_they_are_timed(monkeypatch):
    assert skips.check(SKIP, CPU)["torch"] <= 1
    wrong = lambda *args: tuple(1.01 * x for x in right(*args)) if args[0].backend == "torch" else right(*args)  # noqa: E731
    right = skips.output_and_gradients
    monkeypatch.setattr(skips, "output_and_gradients", wrong)
    with pytest.raises(AssertionError, match=r"torch at .* errs .* times what is allowed"):
        skips.check(SKIP, CPU)


def test_rows_of_skips(monkeypatch):
    makers = skips.contenders(SKIP, CPU)
    assert {"CSCA reference", "CSCA torch", "CSCA and convolution"} <= set(makers)
    del makers["CSCA reference, compiled"]  # a minute of compiling is not for here
    makers["broken"] = lambda u, e: u[:, :3] @ e
    monkeypatch.setattr(skips, "contenders", lambda *_: makers)
    rows = {row["name"]: row for row in skips.measure(SKIP, CPU, 1e10, rounds=2, limit=5)}
    assert set(rows["broken"]) == {"name", "not_run"}
    for kind, maps in (("forward", 4), ("forward_backward", 11)):
        cell = rows["CSCA torch"][kind]
        assert cell["floor"] == pytest.approx(maps * 4 * 4 * 6 * 7 * 4 / 1e10)
        assert cell["over_floor"] == pytest.approx(cell["median"] / cell["floor"])
        assert cell["extra_maps"] < rows["CSCA reference"][kind]["extra_maps"]
    table = tables.text_table({"channels": 4, "size": [4, 6, 7], "dtype": "float32", "memory_format": "contiguous",
                               "rows": list(rows.values())})  # fmt: skip
    assert "broken was not run: " in table
    assert table.count("\n| ") == len(rows) - 1 + 2


def test_rows_of_networks(monkeypatch):
    made = {name: make for name, make in nets.networks(CPU).items() if name in ("UNet3d", "UCANet")}
    monkeypatch.setattr(nets, "networks", lambda _: made)
    case = nets.NetCase((8, 16, 16), "float32", "channels_last_3d")
    rows = nets.measure(case, CPU, rounds=2, limit=5)
    assert [row["parameters"] for row in rows] == [6_419_747, 5_905_452]
    assert all(row["training_step"]["median"] > 0 for row in rows)


def test_the_docs_show_the_results():
    page = tables.PAGE.read_text()
    assert replaced(page, tables.MAKER, tables.text(tables.read_reports(tables.RESULTS))) == page
