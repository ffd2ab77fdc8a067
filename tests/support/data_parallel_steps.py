"""A few training steps in float64, as a script that several processes can run together."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

STEPS = 3


def train(data: Path, output: Path, devices: int, nodes: int = 1, **changes: object) -> None:
    """Write losses, gradients of the first step, weights and their average after the last, as safetensors, from rank 0.

    Float64 keeps Adam from amplifying rounding errors: the gradient of a weight without influence, such as a bias
    before a normalization, is rounding error alone, and Adam divides it by its own size unless that is small compared
    with its eps of 1e-8.
    """
    from ltvs.dataset.layout import PreparedSet
    from ltvs.model.networks import make_network
    from ltvs.training.devices import start_processes
    from ltvs.training.loader import make_loader
    from ltvs.training.loop import seed_everything
    from ltvs.training.stage_training import StageTraining
    from ltvs.training.step import Learner
    from support.trained_runs import tiny_settings

    torch.set_num_threads(1)
    fixed = {"batch_size": 4, "norm": "instance", "dice_over": "patch", "devices": devices, "nodes": nodes}
    settings = tiny_settings(data, output, **fixed, **changes)
    fabric = start_processes(settings.device, devices, nodes, settings.precision)
    seed_everything(settings.seed + fabric.global_rank)
    loader = make_loader(StageTraining(PreparedSet(data), 2, settings, fabric))
    learner = Learner(fabric, make_network(settings.network_of(2)).double(), settings, STEPS)
    saved = {}
    for step in range(STEPS):
        micro_batches = [part._replace(image=part.image.double()) for part in next(loader.epoch(step))]
        saved[f"loss {step}"] = torch.as_tensor(fabric.all_reduce(learner.backward(micro_batches), reduce_op="mean"))
        if step == 0:
            saved |= {f"gradient {name}": p.grad.contiguous().clone() for name, p in learner.net.named_parameters()}
        learner.update()
    saved |= {f"weight {name}": p.detach().contiguous() for name, p in learner.net.named_parameters()}
    saved |= {f"weight {name}, kept": p.detach().contiguous().clone() for name, p in learner.result.named_parameters()}
    if fabric.is_global_zero:
        save_file(saved, output)


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]
    train(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
