"""Results of runs with several seeds and their means, as the paper reports them."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import SimpleITK as sitk
from rich.console import Console
from rich.table import Table

from ltvs.dataset.digests import digest
from ltvs.dataset.layout import PreparedSet
from ltvs.dataset.provenance import content_digest
from ltvs.evaluation.scores import HEADINGS, MEASURES, score_case, write_scores
from ltvs.model.pipeline import NoLiverError, Pipeline
from ltvs.model.saved import stage_folder
from ltvs.model.stages import STAGES
from ltvs.runtime.files import read_json, write_json
from ltvs.training.run_folder import BEST
from ltvs.training.settings import TrainSettings
from ltvs.volume.grids import Grid
from ltvs.volume.images import read_ct, read_labels

#: What the scores of the test cases were made of.
_MADE_OF = "made_of.json"

_HEADINGS = HEADINGS | {"hd95_mm": "HD95 mm"}

#: Values of one run by measure; None if no case has one.
Results = dict[str, float | None]


def seed_folder(settings: TrainSettings, seed: int) -> Path:
    """Return the folder of a seed's run: the output itself if there is only one seed."""
    return settings.output if settings.seeds == 1 else settings.output / f"seed{seed}"


def score_test_cases(run: Path, data: PreparedSet, device: str) -> None:
    """Predict the test cases with both stages of a run, score them on the grid of their CT, and write RUN/test.

    A case in which stage 1 finds no liver counts as an empty prediction. A run is skipped if these networks have been
    scored on these cases.
    """
    if _are_scored(run, data):
        return
    (run / "test" / _MADE_OF).unlink(missing_ok=True)
    pipeline, cases = Pipeline.load(run, device, smallest_liver=0.0), {}
    for name in data.split["test"]:
        ct, reference = read_ct(data.ct(name), force=True), read_labels(data.labels(name))
        try:
            # Preparation has checked the CTs, or was told to take them as they are.
            found = sitk.GetArrayFromImage(pipeline.label(ct, force=True))
        except NoLiverError:
            found = np.zeros(ct.GetSize()[::-1], np.uint8)
        cases[name] = score_case(found, sitk.GetArrayFromImage(reference), Grid.of(reference))
    write_scores(cases, run / "test")
    write_json(run / "test" / _MADE_OF, _made_of(run, data))


def _are_scored(run: Path, data: PreparedSet) -> bool:
    """Return whether RUN/test has the scores of the networks of the run on the test cases, all as they are now."""
    files = run / "test" / "summary.json", run / "test" / _MADE_OF
    return all(file.is_file() for file in files) and read_json(files[1]) == _made_of(run, data)


def _made_of(run: Path, data: PreparedSet) -> dict[str, Any]:
    """Return digests of what decides the scores of the test cases, as JSON holds them."""
    networks = {f"stage{stage}": digest(stage_folder(run, stage) / BEST) for stage in STAGES}
    return {"networks": networks, "cases": content_digest(data.folder, data.split["test"], ["images", "labels"])}


def results_of(run: Path, settings: TrainSettings, data: PreparedSet) -> Results:
    """Return the validation Dice of each stage of a run, and the scores of its test cases, if they were scored."""
    results: Results = {}
    for stage in settings.stages():
        results[f"stage {stage} validation Dice"] = read_json(stage_folder(run, stage) / "result.json")["dice"]
    if _are_scored(run, data):
        summary = read_json(run / "test" / "summary.json")
        for name, measures in MEASURES.items():
            results |= {f"test {name} {_HEADINGS[key]}": summary[name][key] for key in measures}
    return results


def write_summary(runs: Mapping[int, Results], output: Path) -> None:
    """Write `summary.json`: results by seed, their means and sample standard deviations (n - 1)."""
    names = next(iter(runs.values()))
    columns = {name: [value for run in runs.values() if (value := run[name]) is not None] for name in names}
    content = {
        "seeds": {str(seed): run for seed, run in runs.items()},
        "mean": {name: fmean(values) if values else None for name, values in columns.items()},
        "std": {name: stdev(values) if len(values) > 1 else None for name, values in columns.items()},
    }
    write_json(output / "summary.json", content)


def print_summary(output: Path) -> None:
    """Print `summary.json`: a row per measure with its mean, its standard deviation and its value by seed."""
    content = read_json(output / "summary.json")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("mean", "std", *(f"seed {seed}" for seed in content["seeds"])):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, mean in content["mean"].items():
        values = [mean, content["std"][name], *(run[name] for run in content["seeds"].values())]
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    Console().print(table)
