"""The command for a GPU, without one: a row that fails cancels no other, and a second call goes on."""

import importlib.util
import sys

import pytest
import torch

from ltvs.runtime.files import read_json

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture
def gpu_check(monkeypatch):
    from benchmarks import gpu_check

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_check, "machine", lambda _: {"name": "a GPU"})
    monkeypatch.setattr(gpu_check, "bandwidth", lambda _: 1e12)
    return gpu_check


def run(gpu_check, monkeypatch, rows, *arguments):
    monkeypatch.setattr(gpu_check, "rows", lambda *_: iter(rows))
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *map(str, arguments)])
    return gpu_check.main()


def test_a_row_that_fails_cancels_no_other_and_a_second_call_goes_on(gpu_check, monkeypatch, tmp_path, capsys):
    calls = []

    def wrong():
        calls.append("wrong")
        raise AssertionError("errs 2.30 times what is allowed")

    def right():
        calls.append("right")
        return {"ms": 1.5}

    out = tmp_path / "gpu.json"
    rows = [("equality", {"name": "apply"}, wrong), ("passes", {"channels": 32}, right)]
    assert run(gpu_check, monkeypatch, rows, "--json", out) == 1
    assert "1 rows failed, 0 not run yet" in capsys.readouterr().out
    report = read_json(out)
    assert "errs 2.30 times" in report["equality"][0]["failed"]
    assert report["passes"][0].items() >= {"channels": 32, "ms": 1.5}.items()
    rows.append(("passes", {"channels": 64}, right))
    assert run(gpu_check, monkeypatch, rows, "--json", out, "--budget", -1) == 1
    assert "1 rows failed, 2 not run yet" in capsys.readouterr().out
    assert run(gpu_check, monkeypatch, rows, "--json", out) == 1
    # What failed is tried again.
    assert calls == ["wrong", "right", "wrong", "right"]
    assert [row["channels"] for row in read_json(out)["passes"]] == [32, 64]


def test_parts_can_be_chosen(gpu_check, monkeypatch, tmp_path):
    out = tmp_path / "gpu.json"
    rows = [(part, {"name": part}, dict) for part in ("equality", "skips", "nets")]
    assert run(gpu_check, monkeypatch, rows, "--json", out, "--only", "nets") == 0
    assert [len(read_json(out)[part]) for part in ("equality", "skips", "nets")] == [0, 0, 1]


def test_parts_that_are_none_are_refused(gpu_check, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(gpu_check, monkeypatch, [], "--json", tmp_path / "gpu.json", "--only", "equalities")
    assert "invalid choice: 'equalities'" in capsys.readouterr().err


def test_every_row_has_a_key_of_its_own_that_json_keeps(gpu_check):
    import json

    keys = [(part, json.dumps(key)) for part, key, _ in gpu_check.rows(torch.device("cuda"), 1e12)]
    assert len(keys) == len(set(keys))
    assert {part for part, _ in keys} == {"equality", "passes", "skips", "nets", "precision", "tiles"}


def test_without_a_gpu_nothing_starts(gpu_check, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        run(gpu_check, monkeypatch, [], "--json", tmp_path / "gpu.json")
    assert "expected a CUDA GPU" in capsys.readouterr().err


def test_other_tiles_are_timed_in_place_of_todays_which_come_back():
    from benchmarks import gpu_tiles
    from crossattn3d.kernels.triton import launch, tuning

    before, seen = dict(tuning.MIX_ONE), []

    def milliseconds(call):
        seen.append((launch.PROGRAMS, tuning.MIX_ONE[64]))
        if tuning.MIX_ONE[64].voxels == 128:
            raise RuntimeError("out of resource: shared memory")
        return call() + tuning.MIX_ONE[64].warps / launch.PROGRAMS

    found = gpu_tiles.timings(64, "MIX_ONE", lambda: 1.0, milliseconds)
    assert seen[0] == (launch.PROGRAMS, before[64])
    assert set(seen) == {(n, before[64]) for n in gpu_tiles.PROGRAMS} | {(launch.PROGRAMS, x) for x in gpu_tiles.TILES}
    assert found["best"] == f"{max(gpu_tiles.PROGRAMS)} programs"
    assert found["32 voxels, 8 warps, 2 stages"] == 2.0
    assert found["128 voxels, 4 warps, 3 stages"] == "RuntimeError: out of resource: shared memory"
    assert before == tuning.MIX_ONE
