"""Networks to ship: those that come with the examples, and how to write a run small enough for a repository.

NETWORKS/stage1, NETWORKS/stage2:  settings.json  best.safetensors

The folder is read like that of a run. Weights are float16. The settings hold only what prediction needs, and nothing
about the training.
"""

import shutil
from pathlib import Path

from ltvs.model.networks import save_weights
from ltvs.model.saved import FORMAT, load_unfolded, stage_folder
from ltvs.model.stages import STAGES
from ltvs.runtime.files import write_json
from ltvs.runtime.outputs import check_new_folder, check_not_around, check_outside, replaced_folder

#: The networks that predict_ltvs.py uses unless it is given a run.
SHIPPED = Path(__file__).parents[2] / "networks" / "portal-venous-ct"
ORIGIN = "trained on synthetic patients alone; not a medical device"

CARD = "README.md"
#: Files of each stage.
WRITTEN = ("best.safetensors", "settings.json")


def ship_networks(run: Path, output: Path, *, overwrite: bool = False) -> int:
    """Write both networks of a run in half precision; return the bytes of all files.

    Args:
        run: folder with both stages trained.
        output: folder to create.
        overwrite: whether to replace the networks of a folder that exists; its model card, README.md, is kept.

    Raises:
        InputError: the run lacks a stage or its weights are too large for float16, `output` is in the run or around it,
            or it exists and is not to be replaced or holds other files.
    """
    check_outside(output, {"--run": run})
    check_not_around(output, {"--run": run})
    own = {Path(CARD), *(stage_folder(Path(), stage) / name for stage in STAGES for name in WRITTEN)}
    check_new_folder(output, overwrite=overwrite, what="shipped networks", is_own=lambda path: path in own)
    loaded = {stage: load_unfolded(run, stage) for stage in STAGES}
    with replaced_folder(output) as folder:
        for stage, (net, prediction) in loaded.items():
            weights, described = (stage_folder(folder, stage) / name for name in WRITTEN)
            save_weights(net, weights, half=True)
            settings = {"format": FORMAT, "stage": stage, "prediction": prediction}
            write_json(described, settings)
        if (output / CARD).exists():
            shutil.copyfile(output / CARD, folder / CARD)
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
