"""CSCA with scores that the package does not offer, computed literally."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossattn3d import CSCA
from crossattn3d._checks.options import check_option
from crossattn3d.kernels.parameters import EPS, SCORE_NORMS

#: Normalizations that a temperature or centered scores can be combined with.
SCALED = ("mean", "instance")


class StudiedCSCA(CSCA):
    """CSCA with scores that CSCA does not offer, computed literally.

        softmax(t s(Q' K'^T)),   Q' = Q - mean of each row with `centered`, else Q; the same for K'

    Args:
        widths: of the decoder map and of the encoder map.
        score_norm: `mean` or `instance`.
        temperature: whether each half has a learnable t, 1 at first.
        centered: whether scores are covariances.
        residual: whether U is added.
    """

    def __init__(self, *widths: int, score_norm: str, temperature: bool, centered: bool, residual: bool) -> None:
        check_option("StudiedCSCA", "score_norm", score_norm, SCALED)
        super().__init__(*widths, score_norm=score_norm, residual=residual)
        self.centered = centered
        self.factors = nn.Parameter(torch.ones(2), requires_grad=temperature)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """Return the sum of both halves."""
        q, k, v = projected(self.channel, query, context)
        of_channels = scores(q, k, self.score_norm, self.factors[0], self.centered).softmax(-1) @ v
        q, k, v = projected(self.slices, query, context)
        mixed = scores(q, k, self.score_norm, self.factors[1], self.centered).softmax(-1) @ v
        of_slices = self.slices.to_out(mixed.reshape(mixed.shape[0], 1, *context.shape[2:]))
        out: Tensor = of_channels.reshape(context.shape) + of_slices
        return out + query if self.residual else out


def projected(half: nn.Module, query: Tensor, context: Tensor) -> list[Float[Tensor, "b n l"]]:
    """Return Q, K and V of one half of CSCA; their rows are channels, or slices in the half that has `to_out`."""
    maps = (half.to_query(query), half.to_key(context), half.to_value(context))
    return [(x[:, 0] if hasattr(half, "to_out") else x).flatten(2) for x in maps]


def scores(
    q: Float[Tensor, "b n l"],
    k: Float[Tensor, "b n l"],
    score_norm: str,
    factor: Tensor | float = 1.0,
    centered: bool = False,
) -> Float[Tensor, "b n n"]:
    """Return t s(Q K^T), the input of the softmax."""
    check_option("scores", "score_norm", score_norm, SCORE_NORMS)
    q, k = q.float(), k.float()
    if centered:
        q, k = (x - x.mean(-1, keepdim=True) for x in (q, k))
    if score_norm == "cosine":
        q, k = (nn.functional.normalize(x, dim=-1, eps=EPS) for x in (q, k))
        return factor * (q @ k.mT)
    length = q.shape[-1]
    s = q @ k.mT / {"none": 1.0, "sqrt": length**0.5, "mean": length, "instance": length}[score_norm]
    if score_norm == "instance":
        variance, mean = torch.var_mean(s, dim=(-2, -1), correction=0, keepdim=True)
        s = (s - mean) * torch.rsqrt(variance + EPS)
    return factor * s
