"""A trained network on cases it has not seen: Dice, IoU and clDice of vessels, Dice and IoU of tumors."""

import torch
from monai.inferers import SlidingWindowInferer
from monai.losses.cldice import soft_skel
from torch import Tensor, nn

from benchmarks.accuracy.cases import Prepared
from benchmarks.accuracy.task import Triple
from ltvs.model.stages import CLASSES

#: Share of a patch's length that the next one covers again.
OVERLAP = 0.25
#: How often MONAI's skeleton erodes: the widest vessels are about four voxels in radius.
EROSIONS = 5

Scores = dict[str, dict[str, float | None]]


@torch.inference_mode()
def predicted(net: nn.Module, case: Prepared, patch: Triple, device: torch.device) -> Tensor:
    """The class of each voxel, (d, h, w), from overlapping patches, computed in bfloat16."""
    inferer = SlidingWindowInferer(patch, sw_batch_size=4, overlap=OVERLAP, mode="constant")
    image = torch.from_numpy(case.image)[None, None].to(device)

    def probabilities(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits: Tensor = net(x.contiguous(memory_format=torch.channels_last_3d))
        return logits.float().softmax(1)

    summed: Tensor = inferer(image, probabilities)
    return summed[0].argmax(0).cpu()


def scored(prediction: Tensor, case: Prepared, skeletons: "Skeletons | None") -> dict[str, Scores]:
    """The scores by class; clDice of vessels where skeletons are given."""
    target = torch.from_numpy(case.target)
    found = {}
    for number, name in enumerate(CLASSES[2][1:], start=1):
        p, r = prediction == number, target == number
        both, total = int((p & r).sum()), int(p.sum() + r.sum())
        found[name] = {
            "dice": 2 * both / total if total else None,
            "iou": both / (total - both) if total else None,
        }
        if skeletons is not None and name == "vessel":
            found[name]["cldice"] = skeletons.cldice(p, r, case.name)
    return found


class Skeletons:
    """clDice with MONAI's skeletons, those of the references kept.

    clDice = 2 a b / (a + b),   a = |S(P) R| / |S(P)|,   b = |S(R) P| / |S(R)|
    """

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def cldice(self, prediction: Tensor, reference: Tensor, name: str) -> float | None:
        """clDice; 0 if one of both is empty, None if both are."""
        if name not in self.kept:
            self.kept[name] = _skeleton(reference)
        of_p, of_r = _skeleton(prediction), self.kept[name]
        if not of_p.sum() and not of_r.sum():
            return None
        if not of_p.sum() or not of_r.sum():
            return 0.0
        a, b = float((of_p * reference).sum() / of_p.sum()), float((of_r * prediction).sum() / of_r.sum())
        return 2 * a * b / (a + b) if a + b else 0.0


def _skeleton(mask: Tensor) -> Tensor:
    skeleton: Tensor = soft_skel(mask[None, None].float(), EROSIONS)
    return skeleton[0, 0]
