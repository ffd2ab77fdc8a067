"""The training of one stage: its data, its settings and the devices that it runs on, as one object."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltvs.dataset.layout import PreparedSet
from ltvs.model.saved import stage_folder
from ltvs.model.stage_view import StageView
from ltvs.model.stages import Stage
from ltvs.training.settings import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class StageTraining:
    """Everything that decides how a stage is trained.

    Args:
        data: the prepared set.
        stage: 1 or 2.
        settings: of the training.
        fabric: launched; every process has its own.
    """

    data: PreparedSet
    stage: Stage
    settings: TrainSettings
    fabric: "Fabric"

    @property
    def folder(self) -> Path:
        """The folder of the stage in the run."""
        return stage_folder(self.settings.output, self.stage)

    @property
    def view(self) -> StageView:
        """The view that the stage has of a case."""
        return self.data.preparation.view(self.stage)
