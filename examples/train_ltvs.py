"""Train the two stages on a prepared data set: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltvs.dataset.layout import PreparedSet
from ltvs.model.saved import stage_folder, stage_inputs
from ltvs.model.stages import Stage
from ltvs.report.seed_summary import print_summary, results_of, score_test_cases, seed_folder, write_summary
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.locks import locked
from ltvs.runtime.outputs import check_not_around, check_outside
from ltvs.training.devices import is_first_process, lost_processes, make_deterministic, start_processes
from ltvs.training.estimate import duration, estimate_stage
from ltvs.training.loop import seed_everything, train_stage
from ltvs.training.run_folder import check_folder, start_network, start_stage
from ltvs.training.settings import TrainSettings
from ltvs.training.stage_training import StageTraining

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def main(settings: TrainSettings) -> None:
    """Train both stages. By default, a 3D U-Net finds the liver, and UCA-Net finds the vessels and tumors in it.

    To resume an interrupted training, give the same command again.

    Defaults are the paper's values where it states them, except for --score-norm, --residual, --jitter, --seeds and
    --devices (docs/understand/choices.md).
    """
    data = PreparedSet(settings.data, settings.split)
    for stage in settings.stages():
        data.check_stage(stage)
    if settings.deterministic:
        make_deterministic()
    with lost_processes():
        if settings.estimate:
            _estimate(settings, data)
        else:
            _train_seeds(settings, data)


def _train_seeds(settings: TrainSettings, data: PreparedSet) -> None:
    """Train every seed, or what is left to do of it."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    runs = {seed: replace(settings, seed=seed, output=seed_folder(settings, seed)) for seed in seeds}
    stages = [(one, stage) for one in runs.values() for stage in settings.stages()]
    for one, stage in stages:
        _check_places(one, stage)
        check_folder(one, stage, data)
    _check_starts(stages, data)
    with ExitStack() as locks:
        if is_first_process():
            for one, stage in stages:
                locks.enter_context(locked(stage_folder(one.output, stage)))
                start_stage(one, stage, data)
        fabric = start_processes(settings.device, settings.devices, settings.nodes, settings.precision)
        fabric.barrier()
        for one in runs.values():
            _train(one, data, fabric)
        if settings.seeds > 1 and fabric.is_global_zero:
            write_summary({seed: results_of(one.output, one, data) for seed, one in runs.items()}, settings.output)
            print_summary(settings.output)


def _check_places(settings: TrainSettings, stage: Stage) -> None:
    """Raise InputError if the run would be written into what it is made from."""
    if (settings.output / "dataset.json").is_file():
        raise InputError(f"--output {settings.output}: is a prepared data set, not a run; give another --output")
    inputs: dict[str, Path | None] = {"--data": settings.data, "--pretrained": settings.pretrained}
    if settings.init is not None:
        inputs |= stage_inputs(settings.init)
    for folder in (settings.output, stage_folder(settings.output, stage)):
        check_outside(folder, inputs)
    check_not_around(stage_folder(settings.output, stage), inputs)


def _check_starts(stages: Sequence[tuple[TrainSettings, Stage]], data: PreparedSet) -> None:
    """Load the networks of --init or --pretrained once before anything is written, and print their warnings."""
    given = [(one, stage) for one, stage in stages if one.init is not None or one.pretrained is not None]
    warnings = dict.fromkeys(start_network(settings, stage, data)[1] for settings, stage in given)
    if is_first_process():
        for warning in filter(None, warnings):
            print(f"warning: {warning}", file=sys.stderr)


def _train(settings: TrainSettings, data: PreparedSet, fabric: "Fabric") -> None:
    """Train the stages of one seed."""
    for stage in settings.stages():
        seed_everything(settings.seed)
        task = StageTraining(data, stage, settings, fabric)
        net, _ = start_network(settings, stage, data)
        best = train_stage(task, net)
        if fabric.is_global_zero:
            print(f"stage {stage}: validation Dice {best.dice:.3f} at epoch {best.epoch}; weights in {task.folder}")
    if settings.seeds > 1 and settings.stage == "both" and fabric.is_global_zero:
        score_test_cases(settings.output, data, settings.device)
    fabric.barrier()


def _estimate(settings: TrainSettings, data: PreparedSet) -> None:
    """Print how long each stage and the whole training would take."""
    fabric = start_processes(settings.device, settings.devices, settings.nodes, settings.precision)
    estimates = {stage: estimate_stage(StageTraining(data, stage, settings, fabric)) for stage in settings.stages()}
    if fabric.is_global_zero:
        for stage, estimate in estimates.items():
            print(f"stage {stage}: {estimate}")
        total = settings.seeds * sum(estimate.seconds for estimate in estimates.values())
        print(f"total for {settings.seeds} {'seeds' if settings.seeds > 1 else 'seed'}: {duration(total)}")


if __name__ == "__main__":
    run(main, TrainSettings)
