"""The work by this project's pipeline, with networks of random weights."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

import ltvs.model.pipeline
from benchmarks.prediction.work import Size, Work
from ltvs.model.computing import Precision
from ltvs.model.inference import predict_probabilities
from ltvs.model.liver_shape import body_and_sizes, cut_bridges, fill_notches
from ltvs.model.networks import NetworkSettings, make_network
from ltvs.model.pipeline import NoLiverError, Pipeline, find_liver
from ltvs.model.saved import TrainedStage
from ltvs.model.stages import CLASSES, Stage
from ltvs.volume.images import read_ct, read_mask, write_volume


def prepare_to_label(
    content: dict[str, Any], precision: Precision, output: Path
) -> tuple[Callable[[], None], dict[str, float]]:
    """Return a call that labels the CT, and a dictionary in which it adds up the seconds that patches take.

    Weights are random, but stage 1 is made to find nothing. The steps that would make a liver of what it finds are done
    with the liver of `content`, which stage 2 is given.

    Args:
        content: as `Work.json` gives it.
        precision: `32` or `bf16-mixed`.
        output: label map to write.
    """
    work, spent = Work.from_json(content), {"networks": 0.0}
    torch.manual_seed(0)
    stages = [_stage(stage, work.size) for stage in CLASSES]
    pipeline = Pipeline(*stages, "cpu", precision=precision)
    ltvs.model.pipeline.predict_probabilities = _timed(predict_probabilities, spent)
    liver = read_mask(work.liver)

    def label() -> None:
        ct = read_ct(work.ct)
        with suppress(NoLiverError):
            # Forced, since the CT's values are checked once more where stage 2 is given a liver.
            find_liver(ct, pipeline.stage1, "cpu", precision=precision, force=True)
        spacing, found = ct.GetSpacing()[::-1], sitk.GetArrayFromImage(liver) > 0
        body, _ = body_and_sizes(found)
        fill_notches(cut_bridges(body, spacing), sitk.GetArrayViewFromImage(ct), spacing)
        write_volume(pipeline.label(ct, liver), output)

    return label, spent


def _stage(stage: Stage, size: Size) -> TrainedStage:
    """Return a stage of random weights, which finds nothing if it is the first."""
    settings = NetworkSettings(len(CLASSES[stage]), "unet3d" if stage == 1 else "ucanet", size.channels)
    prediction = {**asdict(size), "preparation": size.preparation.json(), "precision": "32"}
    net = make_network(settings).eval()
    if stage == 1:
        net.head.bias.data = torch.tensor([1e4, 0.0])
    return TrainedStage.from_json(net, prediction)


def _timed(predict: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    """Return a function that adds the seconds that it takes to `spent`."""

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = predict(*arguments, **options)
        spent["networks"] += time.perf_counter() - start
        return result

    return timed
