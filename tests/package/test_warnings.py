"""A deprecated call of ours is an error in tests; one of a library is none of our business."""

import warnings

import pytest

OURS = ["crossattn3d", "crossattn3d.kernels.passes", "ltvs.volume.images", "train_ltvs", "benchmarks.speed.nets"]


@pytest.mark.parametrize("kind", [DeprecationWarning, FutureWarning])
@pytest.mark.parametrize("module", OURS)
def test_ours_are_errors(module: str, kind: type[Warning]) -> None:
    with pytest.raises(kind, match="use another"):
        warnings.warn_explicit("use another", kind, "file.py", 1, module=module)


@pytest.mark.parametrize("kind", [DeprecationWarning, FutureWarning])
@pytest.mark.parametrize("module", ["torch.nn", "crossattn3d_tools", "mycrossattn3d", "monai.networks"])
def test_those_of_others_are_not(module: str, kind: type[Warning]) -> None:
    with pytest.warns(kind, match="use another"):
        warnings.warn_explicit("use another", kind, "file.py", 1, module=module)
