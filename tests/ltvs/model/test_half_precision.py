"""A real CT is labeled alike in float32 and in the bfloat16 that `auto` takes."""

import os
from pathlib import Path

import pytest
import SimpleITK as sitk

from benchmarks.real_cases.scoring import reference_masks
from ltvs.evaluation.metrics import dice
from ltvs.model.computing import fast_precision
from ltvs.model.pipeline import Pipeline
from ltvs.model.shipping import SHIPPED
from ltvs.sources.ircadb import ircadb
from ltvs.volume.labels import BACKGROUND, STRUCTURES, TUMOR, VESSEL


@pytest.mark.slow
def test_a_real_liver_is_the_same_in_both_precisions() -> None:
    folder = os.environ.get("CROSSATTN3D_TEST_DATA")
    if not folder:
        pytest.skip("CROSSATTN3D_TEST_DATA is not set: no real CT to try")
    if fast_precision("cpu") == "32":
        pytest.skip("this processor has no instructions for bfloat16: auto is float32")
    (entry,) = ircadb(Path(folder) / "3Dircadb1.17.zip").values()
    case = entry.load()
    references = reference_masks(case, STRUCTURES)
    livers, scores = [], []
    for precision in ("32", "auto"):
        labels = sitk.GetArrayFromImage(Pipeline.load(SHIPPED, "cpu", precision=precision).label(case.ct))
        found = {"liver": labels > BACKGROUND, "tumor": labels == TUMOR, "vessel": labels == VESSEL}
        livers.append(found["liver"])
        scores.append({name: dice(found[name], references[name]) for name in STRUCTURES})
    # What is asked of `auto`; measured were 0.9996, and differences of 0.001 at most.
    assert dice(*livers) >= 0.999
    assert scores[1] == pytest.approx(scores[0], abs=0.003)
