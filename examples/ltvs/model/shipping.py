"""Networks to ship: those that come with the examples, and the folder of a run written small enough for a repository.

NETWORKS/stage1, NETWORKS/stage2:  settings.json  best.safetensors

It is read like the folder of a run. Weights are float16; of the settings there is what prediction needs, and nothing of
the training.
"""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ltvs.model.networks import save_weights
from ltvs.model.saved import FORMAT, load_unfolded, stage_folder
from ltvs.model.stages import STAGES
from ltvs.runtime.errors import InputError, few
from ltvs.runtime.files import TEMPORARY, atomic_path, write_json

#: The networks that predict_ltvs.py uses unless it is given a run.
SHIPPED = Path(__file__).parents[2] / "networks" / "portal-venous-ct"
ORIGIN = "trained on synthetic patients alone; not a medical device"

CARD = "README.md"
#: Files of each stage.
WRITTEN = ("best.safetensors", "settings.json")


def ship_networks(run: Path, output: Path, *, replace: bool = False) -> int:
    """Write both networks of a run in half precision; return the bytes of all files.

    Args:
        run: folder with both stages trained.
        output: folder to create.
        replace: whether to replace the networks of a folder that exists; its model card, README.md, is kept.

    Raises:
        InputError: the run lacks a stage or its weights are too large for float16, or `output` exists and is not to be
            replaced or holds other files.
    """
    if output.exists():
        _check_replaceable(output, replace)
    loaded = {stage: load_unfolded(run, stage) for stage in STAGES}
    with ExitStack() as stack:
        old = None
        if output.exists():
            spare = tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=output.parent)
            old = Path(stack.enter_context(spare)) / output.name
        folder = stack.enter_context(atomic_path(output, old))
        for stage, (net, prediction) in loaded.items():
            weights, described = (stage_folder(folder, stage) / name for name in WRITTEN)
            save_weights(net, weights, half=True)
            settings = {"format": FORMAT, "stage": stage, "prediction": prediction}
            write_json(described, settings)
        if (output / CARD).exists():
            shutil.copyfile(output / CARD, folder / CARD)
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def _check_replaceable(output: Path, replace: bool) -> None:
    """Raise InputError if a folder is not to be replaced, or holds anything that `ship_networks` does not write."""
    if not replace:
        raise InputError(f"{output}: exists already; give another --output, or --replace to replace its networks")
    own = {output / CARD, *(stage_folder(output, stage) / name for stage in STAGES for name in WRITTEN)}
    there = {path for path in output.rglob("*") if not path.is_dir()} if output.is_dir() else {output}
    foreign = sorted(str(path.relative_to(output.parent)) for path in there - own)
    if foreign:
        raise InputError(
            f"{output}: expected a folder of shipped networks to replace, got {few(foreign)} in it; "
            "give another --output"
        )
