"""Label a CT, and print the seconds that it took, as JSON.

WORK is what `Work.json` gives. The time runs from the DICOM files to the written labels. It does not include imports
and making the networks.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: This project's pipeline, and MONAI's.
SIDES = ("ours", "monai")


def run(side: str, precision: str, content: dict[str, Any]) -> dict[str, float]:
    """Label a CT; return the seconds, those of the processors, and those that networks take with their patches."""
    # Only one side is imported, as its users would.
    if side == "ours":
        from benchmarks.prediction.own_calls import prepare_to_label
    else:
        from benchmarks.prediction.monai_calls import prepare_to_label
    with tempfile.TemporaryDirectory() as folder:
        label, spent = prepare_to_label(content, precision, Path(folder) / "labels.nii.gz")
        start, before = time.perf_counter(), time.process_time()
        label()
        seconds, processors = time.perf_counter() - start, time.process_time() - before
    return {"seconds": seconds, "processor_seconds": processors, "network_seconds": spent["networks"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction.one_run", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("precision", choices=("32", "bf16-mixed"))
    parser.add_argument("work", type=json.loads)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.side, arguments.precision, arguments.work)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
