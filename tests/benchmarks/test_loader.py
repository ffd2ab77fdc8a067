"""The benchmark of the loader, in miniature, and what it says of its results."""

import json
import mmap
import shutil
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.loader import __main__ as command
from benchmarks.loader import rendering, rendering_tables, tables
from benchmarks.loader.loaders import copied, loaders
from benchmarks.loader.measure import gpu_steps, memory, rates, step_seconds
from benchmarks.loader.process_memory import held
from benchmarks.pages import replaced
from ltvs.dataset.layout import PreparedSet
from support.trained_runs import tiny_set

PATCH = (8, 20, 24)
NAMES = [
    "ours",
    "ours, liver's surface moved",
    "ours, with --augment as well",
    "MONAI PersistentDataset",
    "MONAI PersistentDataset, 4 patches a load",
    "MONAI CacheDataset",
]


@pytest.fixture
def result() -> dict:
    return json.loads(tables.RESULT.read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return copied(tiny_set(tmp_path_factory.mktemp("one")), 3, tmp_path_factory.mktemp("several"))


def test_all_loaders_give_the_same_kind_of_patches(data: PreparedSet, tmp_path: Path) -> None:
    assert data.cases == ("case0", "case1", "case2")
    started = loaders(data, tmp_path, PATCH, workers=0)
    assert list(started) == NAMES
    for name, start in started.items():
        first, second = islice(start(), 2)
        d, h, w = PATCH
        assert tuple(first.shape) == ((4, 1, d, h, w) if "ours" in name else (4, 1, w, h, d)), name
        assert not torch.equal(torch.as_tensor(first), torch.as_tensor(second)), name
        assert torch.as_tensor(first).unique().numel() > 2, name


def test_rates_are_those_of_what_is_drawn() -> None:
    batches = [torch.zeros(4)] * 3 + [torch.zeros(2)] * 2
    found = rates({"some": lambda: (batch for batch in batches)}, rounds=3, warm=3, batches=2)["some"]
    assert found["rounds"] == 3
    assert 0 < found["low"] <= found["median"] <= found["high"]


@pytest.mark.slow
def test_memory_counts_what_is_held(data: PreparedSet) -> None:
    # Mapped by itself: a tensor may get memory that other tests have freed, and that the process still holds.
    with mmap.mmap(-1, 2**26) as kept:
        before = held()
        for page in range(0, len(kept), mmap.PAGESIZE):
            kept[page] = 1
        assert held() - before == pytest.approx(len(kept), rel=0.1)
    found = memory("ours", data, (1, 2), PATCH, workers=1, batches=2)
    assert list(found) == ["1", "2"]
    assert all(50e6 < size < 4e9 for size in found.values())
    with pytest.raises(RuntimeError, match=r"(?s)nothing with 1 cases failed: .*KeyError: 'nothing'"):
        memory("nothing", data, (1,), PATCH, workers=1, batches=2)


def test_memory_is_counted_while_threads_and_processes_end() -> None:
    is_done = threading.Event()

    def start_and_end() -> None:
        while not is_done.is_set():
            with subprocess.Popen([sys.executable, "-S", "-c", ""]):
                for _ in range(20):
                    threading.Thread(target=int).start()

    starting = threading.Thread(target=start_and_end)
    starting.start()
    try:
        assert all(held() > 0 for _ in range(100))
    finally:
        is_done.set()
        starting.join()


def test_a_step_is_timed() -> None:
    step = step_seconds((8, 16, 24), rounds=2)
    assert (step["patch"], step["rounds"]) == ([8, 16, 24], 2)
    assert step["seconds"] > 0


def test_steps_of_gpus_are_found(tmp_path: Path) -> None:
    def net(size: list[int], name: str, seconds: float, dtype: str = "bfloat16") -> dict:
        rows = [{"name": name, "training_step": {"median": seconds}}, {"name": "UCANet, triton", "not_run": "why"}]
        return {"size": size, "dtype": dtype, "compiled": False, "rows": rows}

    nets = [net([8, 9, 10], "UCANet", 0.5), net([8, 9, 10], "UCANet", 0.7, "float32"), net([8, 9, 11], "UCANet", 0.1)]
    nets.append(net([8, 9, 10], "UNet3d", 0.2))
    (tmp_path / "a.json").write_text(json.dumps({"machine": {"device": "cuda", "name": "G"}, "nets": nets}))
    (tmp_path / "b.json").write_text(json.dumps({"machine": {"device": "cpu", "name": "C"}, "nets": nets}))
    (tmp_path / "c.json").write_text(json.dumps({"machine": {"device": "cuda", "name": "H"}}))
    expected = {"name": "G", "dtype": "bfloat16", "compiled": False, "seconds": 0.5}
    assert gpu_steps(tmp_path, (8, 9, 10)) == [expected]


def test_what_is_missed_is_said(result: dict) -> None:
    assert tables.missed(result) == []
    rates = result["rates"]
    rates["ours"]["median"] = 2.9 * rates["MONAI PersistentDataset"]["median"]
    result["memory"]["ours"] = {"4": 100, "16": 120}
    result["gpus"] = [
        {
            "name": "G",
            "seconds": 0.5 / rates["ours, liver's surface moved"]["median"],
            "dtype": "bfloat16",
            "compiled": True,
        }
    ]
    speed, memory, gpu = tables.missed(result)
    assert "2.9 times MONAI's PersistentDataset, expected at least 3" in speed
    assert "1.20 times as much with more cases, expected at most 1.1" in memory
    assert "a training step on G uses" in gpu
    result["step"] = {"patch": [32, 160, 160], "seconds": 0.25, "rounds": 3}
    assert tables.needed(result)["this machine"] == 1.0, "a fourth of the voxels four times a second"
    assert "On G (bfloat16, compiled) it takes" in tables.text(result)


def test_the_docs_show_the_results(result: dict) -> None:
    page = tables.PAGE.read_text()
    assert replaced(page, tables.MAKER, tables.text(result)) == page


def test_rendering_is_timed_beside_a_step(coarse_maps: Path, tmp_path: Path) -> None:
    data = tiny_set(tmp_path)
    shutil.copytree(coarse_maps, data.folder / "maps" / "0000")
    threads = torch.get_num_threads()
    patches = {1: (8, 16, 24), 2: (8, 16, 20)}
    rows = rendering.measure(data, torch.device("cpu"), 2, patches)
    assert torch.get_num_threads() == threads
    assert [(row["stage"], row["patch"]) for row in rows] == [(1, [8, 16, 24]), (2, [8, 16, 20])]
    for row in rows:
        for timing in (row["render"], row["step"]):
            assert 0 < timing["low"] <= timing["median"] <= timing["high"]
            assert timing["calls"] == 2


def test_rendering_that_does_not_keep_up_is_named() -> None:
    def row(stage: int, render: float, step: float) -> dict:
        timings = {
            name: {"median": s, "low": s, "high": s, "calls": 3} for name, s in (("render", render), ("step", step))
        }
        return {"stage": stage, "patch": [8, 9, 10], **timings}

    about = {"device": "cpu", "name": "C", "processors": 2, "versions": {"torch": "2"}, "commit": "abc"}
    report = {"rows": [row(1, 0.25, 1.0), row(2, 0.75, 0.5)], "machine": about}
    assert rendering_tables.missed(report) == ["stage 2: rendering a patch takes 0.75 s, a step 0.50 s"]
    shown = rendering_tables.text(report)
    assert "| stage 1, 8 x 9 x 10 | 0.25 s (0.25 to 0.25) | 1.00 s (1.00 to 1.00) | 4.0 |" in shown
    assert "Medians of 3 alternating calls, on one core each" in shown


def test_the_docs_show_how_rendering_keeps_up() -> None:
    page, result = rendering_tables.PAGE.read_text(), json.loads(rendering_tables.RESULT.read_text())
    assert replaced(page, rendering_tables.MAKER, rendering_tables.text(result)) == page
    assert rendering_tables.missed(result) == []


@pytest.mark.slow
def test_the_command_that_times_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(rendering, "PATCHES", {1: (8, 16, 24), 2: (8, 16, 20)})
    monkeypatch.setattr(sys, "argv", ["rendering", "--rounds", "2", "--json", str(tmp_path / "out.json")])
    status = rendering.main()
    report = json.loads((tmp_path / "out.json").read_text())
    assert status == (1 if rendering_tables.missed(report) else 0)
    assert rendering_tables.text(report) in capsys.readouterr().out


def test_an_input_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["loader", "--input", str(tmp_path / "nowhere.zip")])
    with pytest.raises(SystemExit):
        command.main()
    assert "nowhere.zip: does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    written = tmp_path / "results" / "out.json"
    words = ["--patch", "8", "32", "40", "--step-patch", "8", "16", "24", "--cases", "1", "2", "--pixels", "40"]
    words += ["--workers", "1", "--rounds", "1", "--batches", "2", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", ["loader", *words])
    status = command.main()
    report = json.loads(written.read_text())
    assert status == (1 if tables.missed(report) else 0)
    assert list(report["rates"]) == NAMES
    assert list(report["memory"]) == [NAMES[0], NAMES[3], NAMES[5]]
    assert "PersistentDataset" in capsys.readouterr().out
    assert isinstance(report["load"], float)
