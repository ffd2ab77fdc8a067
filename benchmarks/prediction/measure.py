"""The processes that are measured: both sides on a case, and `predict_ltvs.py` on CTs of few and of many slices."""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom

from benchmarks import ROOT
from benchmarks.child_process import peak_and_output
from benchmarks.prediction.long_ct import write_long_ct
from benchmarks.prediction.one_run import SIDES
from benchmarks.prediction.work import Work
from ltvs.model.computing import Precision

PRECISIONS: tuple[Precision, ...] = ("32", "bf16-mixed")
SLICES = (200, 1000)


def both_sides(work: Work, rounds: int) -> list[dict[str, Any]]:
    """Label the case with each side in each precision, in turns, and return a row for every process."""
    rows = []
    for _ in range(rounds):
        for precision in PRECISIONS:
            for side in SIDES:
                arguments = ["-m", "benchmarks.prediction.one_run", side, precision, json.dumps(work.json())]
                peak, printed = peak_and_output(f"{side} in {precision}", arguments)
                row = {"side": side, "precision": precision, **json.loads(printed), "peak_bytes": peak}
                print(f"{side}, {precision}: {row['seconds']:.1f} s, {peak / 1e9:.2f} GB", flush=True)
                rows.append(row)
    return rows


def long_cts(work: Work, slices: Sequence[int] = SLICES) -> list[dict[str, Any]]:
    """Label CTs of so many slices, made of the case's, with `predict_ltvs.py`; return a row for each."""
    script, rows = ROOT / "examples" / "predict_ltvs.py", []
    for count in slices:
        with tempfile.TemporaryDirectory() as name:
            folder = write_long_ct(work.ct, count, Path(name) / "ct")
            first = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
            arguments = [str(script), "--input", str(folder), "--output", str(Path(name) / "labels.nii.gz")]
            start = time.perf_counter()
            peak, _ = peak_and_output(script.name, [*arguments, "--device", "cpu"])
            seconds = time.perf_counter() - start
        size = f"{first.Rows}x{first.Columns}x{count}"
        print(f"{size}: {seconds:.1f} s, {peak / 1e9:.2f} GB", flush=True)
        rows.append({"slices": count, "size": size, "seconds": seconds, "peak_bytes": peak})
    return rows
