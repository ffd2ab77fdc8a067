"""Train the two stages on a prepared data set: stage 1 finds the liver, stage 2 the vessels and tumors in it."""

from ltvs.cli import run
from ltvs.networks import make_network
from ltvs.prepared import PreparedSet
from ltvs.runs import start_stage
from ltvs.settings import TrainSettings
from ltvs.training import seed_everything, train_stage


def main(settings: TrainSettings) -> None:
    """Train UCA-Net's two stages; the defaults are the paper's."""
    data = PreparedSet(settings.data, settings.split)
    for stage in settings.stages():
        data.check_stage(stage)
    folders = {stage: start_stage(settings, stage, data) for stage in settings.stages()}
    for stage, folder in folders.items():
        seed_everything(settings.seed)
        net = make_network(settings.network(stage))
        best = train_stage(net, data, stage, settings, folder)
        print(f"stage {stage}: validation Dice {best.dice:.3f} at epoch {best.epoch}; weights in {folder}")


if __name__ == "__main__":
    run(main, TrainSettings)
