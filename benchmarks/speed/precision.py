"""Half precision at the paper's size: whether all stays finite, and how far from float64 the fast path is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.skips import both
from crossattn3d import CSCA
from crossattn3d.functional import SCORE_NORMS

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
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
        """Decoder map, encoder map, and the gradient of the output."""
        g = torch.Generator().manual_seed(0)
        u, e, dout = (torch.randn((1, 32, *self.size), generator=g) for _ in range(3))
        if self.features == "correlated":
            pattern = torch.randn((1, 1, *self.size), generator=g)
            u, e = (pattern + 0.05 * x for x in (u, e))
        u, e, dout = (x.to(device, DTYPES[self.dtype]) for x in (u.relu_(), e.relu_(), dout))
        return u, e, dout


def cases(size: tuple[int, int, int] = (32, 320, 320)) -> list[PrecisionCase]:
    """Both dtypes with both kinds of features."""
    return [PrecisionCase(size, dtype, features) for dtype in DTYPES for features in ("independent", "correlated")]


def measure(case: PrecisionCase, device: torch.device) -> list[dict[str, Any]]:
    """A row per score normalization but `none`, of which the scores leave the range of any softmax.

    Returns:
        Whether output and gradients are finite; and for each, root mean squares against float64 of the fast path
        (`auto`) and of the literal equations on the same maps, scores in float32 in both. Truth is the fast path in
        float64, which the tests hold to the literal equations.
    """
    u, e, dout = case.maps(device)
    rows = []
    for score_norm in SCORE_NORMS[1:]:

        def results(backend: str, dtype: torch.dtype, score_norm: Any = score_norm) -> list[Tensor]:
            torch.manual_seed(0)
            truth = dtype == torch.float64
            module = CSCA(32, score_norm=score_norm, backend=backend).to(device, dtype if truth else torch.float32)
            with torch.autocast(device.type, None if truth else dtype, enabled=not truth):
                return [x.detach() for x in both(module, u.to(dtype), e.to(dtype), dout.to(dtype))]

        fast = results("auto", DTYPES[case.dtype])
        finite = all(bool(x.isfinite().all()) for x in fast)
        truth = results("auto", torch.float64)[:3]
        ours = [_error(x, t) for x, t in zip(fast, truth, strict=False)]
        del fast
        literal = [_error(x, t) for x, t in zip(results("reference", DTYPES[case.dtype]), truth, strict=False)]
        row: dict[str, Any] = {"score_norm": score_norm, "finite": finite}
        row["errors"] = {
            name: {"ours": a, "literal": b, "ratio": a / b}
            for name, a, b in zip(RESULTS, ours, literal, strict=True)
        }  # fmt: skip
        rows.append(row)
    return rows


def _error(x: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference, a slice at a time: in float64 a whole map is large."""
    squares = [float((a.double() - b).square().sum()) for a, b in zip(x.unbind(2), truth.unbind(2), strict=True)]
    return float((sum(squares) / x.numel()) ** 0.5)
