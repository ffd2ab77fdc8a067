"""The benchmark's own parts: what it counts, that it checks before it times, and that the docs show its results."""

import os
from dataclasses import asdict

import pytest
import torch

from benchmarks.pages import replaced
from benchmarks.speed import bounds, gate, nets, precision, skips, tables
from benchmarks.speed.__main__ import main as speed_main
from benchmarks.time_and_memory import interleaved, peak_extra_memory
from support.backends import needs_cpp

CPU = torch.device("cpu")
SKIP = skips.SkipCase(4, (4, 6, 7), "float32", "contiguous")


def test_calls_are_made_in_turns():
    order: list[str] = []
    timed = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, rounds=3)
    assert order == ["a", "a", "b", "b"] * 3
    assert [t.calls for t in timed.values()] == [3, 3]


def test_time_is_that_of_the_call_and_a_limit_ends_the_rounds_of_the_slow(monkeypatch: pytest.MonkeyPatch):
    """By a clock that only the slow call moves on, as others may keep this machine busy."""
    now = [0.0]

    def slow() -> None:
        now[0] += 0.02

    monkeypatch.setattr("benchmarks.time_and_memory.time.perf_counter", lambda: now[0])
    timed = interleaved({"slow": slow, "pass": lambda: None}, CPU, rounds=50, limit=0.09)
    assert timed["slow"][:3] == pytest.approx((0.02, 0.02, 0.02))
    assert timed["slow"].calls == 3, "of two calls each"
    assert timed["pass"] == (0, 0, 0, 50)


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
    made = {name: make for name, make in nets.networks(CPU).items() if name in ("UNet3d", "UCANet", nets.GATED)}
    monkeypatch.setattr(nets, "networks", lambda _: made)
    case = nets.NetCase((8, 16, 16), "float32", "channels_last_3d")
    rows = nets.measure(case, CPU, rounds=2, limit=5)
    parameters = {row["name"]: row["parameters"] for row in rows}
    assert parameters["UNet3d"] == 6_419_747
    assert parameters["UCANet"] == 5_905_452
    assert all(row["forward"]["median"] > 0 for row in rows)
    # A gate and a static mixture, and no slice-wise half, which has 5 c + 3 parameters.
    assert parameters[nets.GATED] == 5_905_452 + sum(3 * c * c + 3 * c - (5 * c + 3) for c in (32, 64, 128))
    assert {row["name"] for row in rows if "training_step" in row} == {"UNet3d", "UCANet", nets.GATED}
    # A folded net is for prediction only.
    table = tables.text_table(asdict(case) | {"rows": rows})
    (folded,) = (line for line in table.splitlines() if "UCANet, folded" in line)
    assert folded.count("–") >= 3


def test_the_docs_show_the_results():
    reports = tables.read_reports(tables.RESULTS)
    for path, shown in ((tables.PAGE, tables.text(reports)), (tables.SUMMARY, tables.main_results(reports))):
        page = path.read_text()
        assert replaced(page, tables.MAKER, shown) == page


def test_the_main_results_are_those_of_the_tables():
    """As docs/appendix/times.md and the table of whole predictions have them."""
    reports = tables.read_reports(tables.RESULTS)
    lines = [line for line in tables.main_results(reports).splitlines()[2:] if "benchmarks.speed" in line]
    assert len(lines) == 4
    for line in lines:
        ours, other = line.strip("| ").split(" | ")[2:4]
        assert all(f" {time.removesuffix(' ms')} (" in tables.text(reports) for time in (ours, other))


def test_bounds_are_measured():
    """Each with its limit; a net that is not there is a bound that is missed."""
    found = bounds.skip_bounds(CPU, {SKIP: (1e9, 0.0)}, rounds=2)
    assert [bound.holds for bound in found] == [True, False]
    assert all(0 < bound.measured < 1e9 for bound in found)
    found = bounds.dtype_bounds(CPU, 3, (2, 3, 5), rounds=2)
    assert [bound.what.split(", ")[2:4] for bound in found] == [
        [form, kind] for form in skips.FORMATS for kind in bounds.KINDS
    ]
    assert all(0 < bound.measured < 1e9 for bound in found)
    found = bounds.step_bounds(
        CPU, {("UCANet", "UNet3d"): 1e9, ("UCANet", "a net of tomorrow"): 1e9}, (8, 8, 16), rounds=2
    )
    assert [bound.holds for bound in found] == [True, False] * len(skips.FORMATS)
    assert all(name in nets.networks(CPU) for name, _ in bounds.step_ratios(CPU))


@needs_cpp
def test_the_gate_is_timed_in_both_ways():
    heads, _, row = gate.table([SKIP], rounds=2).splitlines()
    columns = dict(zip(heads.split(" | ")[1:], row.split(" | ")[1:], strict=True))
    assert list(columns)[:-1] == [f"{kind}, {way}" for kind in ("forward", "backward") for way in gate.WAYS]
    *times, difference = (float(value.strip(" |")) for value in columns.values())
    assert all(time >= 0 for time in times)
    # Sums in float32, in another order.
    assert difference < 1e-5


def test_the_gate_needs_a_compiler(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks.speed.gate"])
    monkeypatch.setattr(gate, "library", lambda: "no C++ compiler was found")
    with pytest.raises(SystemExit, match="2"):
        gate.main()
    out, said = capsys.readouterr()
    assert not out
    assert said == "error: the gate in one call needs C++, which cannot be used: no C++ compiler was found\n"


def test_a_missed_bound_is_an_error(monkeypatch, capsys):
    seen = []

    def measured(measure, environment):
        seen.append((measure.func, dict(environment)))
        return [bounds.Bound("a step", 0.8, 0.85), *([bounds.Bound("another", 1.2, 1.1)] if len(seen) == 2 else [])]

    monkeypatch.setattr(bounds, "in_a_process", measured)
    assert bounds.check(CPU) == 1
    assert "MISSED   1.20 <= 1.10  another" in capsys.readouterr().out
    assert [function for function, _ in seen] == [bounds.skip_bounds, bounds.dtype_bounds, bounds.step_bounds]
    assert [bool(environment) for _, environment in seen] == [True, True, False]
    assert bounds.check(CPU) == 0
    assert capsys.readouterr().out.endswith("0 bounds missed\n")


def test_what_is_measured_in_a_process_has_its_environment(monkeypatch):
    monkeypatch.setenv("BEFORE", "1")
    found = bounds.in_a_process(environment_as_bounds, {"BEFORE": "2", "ADDED": "3"})
    assert [bound.measured for bound in found] == [2, 3]
    assert os.environ["BEFORE"] == "1"
    assert "ADDED" not in os.environ


def environment_as_bounds():
    return [bounds.Bound(name, float(os.environ[name]), 0) for name in ("BEFORE", "ADDED")]


@pytest.mark.parametrize("other", [["--json", "x.json"], ["--only", "nets"], ["--rounds", "3"]])
def test_checking_takes_no_other_options(other, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks.speed", "--device", "cpu", "--check", *other])
    with pytest.raises(SystemExit):
        speed_main()
    assert "--check takes --device alone" in capsys.readouterr().err


def test_unknown_features_are_refused():
    case = precision.PrecisionCase((2, 3, 4), "float16", "alike")
    with pytest.raises(ValueError, match=r"PrecisionCase: expected features to be one of .*; got 'alike'"):
        case.maps(torch.device("cpu"))
