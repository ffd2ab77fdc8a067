"""Half precision at the paper's size: whether all values stay finite, and how far the fast path is from float64."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.skips import csca, output_and_gradients
from crossattn3d._checks.options import check_option
from crossattn3d.functional import SCORE_NORMS

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
FEATURES = ("independent", "correlated")
RESULTS = ("output", "gradient of the decoder map", "gradient of the encoder map")


@dataclass(frozen=True)
class PrecisionCase:
    """Maps of 32 channels as after a ReLU, of unit scale.

    Args:
        size: (d, h, w); a batch of one.
        dtype: of the maps, and of autocast; parameters are in float32, as in training.
        features: `independent` channels, or `correlated` ones, all nearly one pattern.
    """

    size: tuple[int, int, int]
    dtype: str
    features: str

    def maps(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return decoder map, encoder map, and the gradient of the output."""
        g = torch.Generator().manual_seed(0)
        u, e, dout = (torch.randn((1, 32, *self.size), generator=g) for _ in range(3))
        check_option("PrecisionCase", "features", self.features, FEATURES)
        if self.features == "correlated":
            pattern = torch.randn((1, 1, *self.size), generator=g)
            u, e = (pattern + 0.05 * x for x in (u, e))
        u, e, dout = (x.to(device, DTYPES[self.dtype]) for x in (u.relu_(), e.relu_(), dout))
        return u, e, dout


def cases(size: tuple[int, int, int] = (32, 320, 320)) -> list[PrecisionCase]:
    """Return both dtypes with both kinds of features."""
    return [PrecisionCase(size, dtype, features) for dtype in DTYPES for features in FEATURES]


def measure(case: PrecisionCase, device: torch.device) -> list[dict[str, Any]]:
    """Return a row per score normalization but `none`, whose scores leave the range of any softmax.

    Returns:
        Whether output and gradients are finite; and for each, root mean squares against float64 of the fast path
        (`auto`) and of the literal equations on the same maps, scores in float32 in both. Truth is the fast path in
        float64, which the tests hold to the literal equations.
    """
    maps = case.maps(device)

    def results(score_norm: str, backend: str, dtype: torch.dtype) -> list[Tensor]:
        truth = dtype == torch.float64
        module = csca(32, backend, score_norm=score_norm).to(device, dtype if truth else torch.float32)
        with torch.autocast(device.type, None if truth else dtype, enabled=not truth):
            return [x.detach() for x in output_and_gradients(module, *(x.to(dtype) for x in maps))]

    rows = []
    for score_norm in SCORE_NORMS[1:]:
        fast = results(score_norm, "auto", DTYPES[case.dtype])
        finite = all(bool(x.isfinite().all()) for x in fast)
        truth = results(score_norm, "auto", torch.float64)[:3]
        ours = list(map(_error, fast, truth))
        del fast
        literal = map(_error, results(score_norm, "reference", DTYPES[case.dtype]), truth)
        errors = [{"ours": a, "literal": b, "ratio": a / b} for a, b in zip(ours, literal, strict=True)]
        rows.append({"score_norm": score_norm, "finite": finite, "errors": dict(zip(RESULTS, errors, strict=True))})
    return rows


def _error(x: Tensor, truth: Tensor) -> float:
    """Return the root mean square of the difference, a slice at a time: in float64 a whole map is large."""
    squares = [float((a.double() - b).square().sum()) for a, b in zip(x.unbind(2), truth.unbind(2), strict=True)]
    return float((sum(squares) / x.numel()) ** 0.5)
