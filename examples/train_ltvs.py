"""Train the two stages on a prepared data set: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

from contextlib import ExitStack

from ltvs.cli import run
from ltvs.distributed import is_first_process, make_deterministic, start_processes
from ltvs.locking import locked
from ltvs.networks import make_network
from ltvs.prepared import PreparedSet
from ltvs.runs import check_folder, stage_folder, start_stage
from ltvs.settings import TrainSettings
from ltvs.training import seed_everything, train_stage


def main(settings: TrainSettings) -> None:
    """Train UCA-Net's two stages; the defaults are the paper's. The same command again goes on where one was ended."""
    data = PreparedSet(settings.data, settings.split)
    first = is_first_process()
    with ExitStack() as locks:
        for stage in settings.stages():
            data.check_stage(stage)
            check_folder(settings, stage, data)
        folders = {stage: stage_folder(settings.output, stage) for stage in settings.stages()}
        if first:
            for stage, folder in folders.items():
                locks.enter_context(locked(folder))
                start_stage(settings, stage, data)
        if settings.deterministic:
            make_deterministic()
        fabric = start_processes(settings.device, settings.devices, settings.nodes, settings.precision)
        fabric.barrier()
        for stage, folder in folders.items():
            seed_everything(settings.seed)
            best = train_stage(fabric, make_network(settings.network(stage)), data, stage, settings, folder)
            if first:
                print(f"stage {stage}: validation Dice {best.dice:.3f} at epoch {best.epoch}; weights in {folder}")


if __name__ == "__main__":
    run(main, TrainSettings)
