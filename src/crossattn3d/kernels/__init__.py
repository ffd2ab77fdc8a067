"""The attention itself, once per way of computing it; `reference` is the specification of the others.

Each kernel is a module with the three functions of `Kernel`. The kernel `factorised` does everything that is as
long as the volume in four passes, which are modules with the four functions of `Passes`.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from crossattn3d.kernels.parameters import ChannelParameters, ScoreNorm, SliceParameters


@runtime_checkable
class Kernel(Protocol):
    """What a kernel module offers. Inputs are checked, of one dtype, outside autocast; `slice_dim` is -3, -2 or -1."""

    def channel_attention(
        self, query: Tensor, context: Tensor, channel: ChannelParameters, score_norm: ScoreNorm
    ) -> Tensor:
        """M of Eq. 2, (b, c, c)."""
        ...

    def slice_attention(
        self, query: Tensor, context: Tensor, slices: SliceParameters, score_norm: ScoreNorm, slice_dim: int
    ) -> Tensor:
        """The softmax of Eq. 4, (b, d, d)."""
        ...

    def cross_attention(
        self,
        query: Tensor,
        context: Tensor,
        channel: ChannelParameters | None,
        slices: SliceParameters | None,
        *,
        score_norm: ScoreNorm,
        residual: bool,
        slice_dim: int,
    ) -> Tensor:
        """The sum of the parts asked for, in the dtype of `context`."""
        ...


@runtime_checkable
class Passes(Protocol):
    """What a module of passes over the maps offers.

    Maps are (b, c, d, h, w), each contiguous or channels_last_3d, none copied. Everything else is in the dtype of
    sums, float64 for float64 maps and else float32, and contiguous; `voxels` are in the order d, h, w. With
    U~ = [U; 1] and E~ = [E; 1], weights and Gram matrices have their biases in the last column and row.
    """

    def reduce(
        self,
        u: Tensor,
        e: Tensor,
        wq: Tensor | None,
        wk: Tensor | None,
        wv: Tensor | None,
        need_norms: bool,
        want_gram: bool = True,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Sums over voxels, and the single-channel projections.

        Args:
            u: the decoder map.
            e: the encoder map.
            wq: weights and bias, (cu+1,), or None.
            wk: (ce+1,), or None.
            wv: (ce+1,), or None; only all three are None.
            need_norms: whether `uu` and `ee` are wanted; all three Gram matrices are then sums in float64.
            want_gram: whether there is any Gram matrix to return.

        Returns:
            ue: U~ E~^T, (b, cu+1, ce+1), or None.
            uu, ee: U~ U~^T and E~ E~^T, or None.
            qkv: wq U~, wk E~ and wv E~, (b, 3, voxels), or None.
        """
        ...

    def apply(
        self, e: Tensor, p: Tensor | None, bias: Tensor, o: Tensor | None, wo: Tensor | None, u: Tensor | None
    ) -> Tensor:
        """P E + bias + wo (x) o + U.

        Args:
            e: the encoder map.
            p: (b, c, ce), or None.
            bias: (b, c).
            o: (b, voxels), or None.
            wo: (c,), or None.
            u: the residual, a map of c channels, or None.

        Returns:
            A map of c channels in the dtype and the memory format of `e`.
        """
        ...

    def reduce_backward(
        self,
        dout: Tensor,
        u: Tensor,
        e: Tensor,
        wq: Tensor | None,
        wk: Tensor | None,
        wv: Tensor | None,
        wo: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The gradients of what `apply` takes, as far as the gradient of the output decides them.

        Args:
            dout: the gradient of the output, a map of c channels.
            u: the decoder map.
            e: the encoder map.
            wq: as in `reduce`.
            wk: as in `reduce`.
            wv: as in `reduce`.
            wo: as in `apply`; all four weights are None, or none is.

        Returns:
            dp: (b, c, ce).
            dbias: (b, c).
            singles: q, k, do and v, (b, 4, voxels), or None.
        """
        ...

    def apply_backward(
        self,
        dout: Tensor,
        u: Tensor,
        e: Tensor,
        p: Tensor | None,
        due: Tensor | None,
        duu: Tensor | None,
        dee: Tensor | None,
        singles: Tensor | None,
        wq: Tensor | None,
        wk: Tensor | None,
        wv: Tensor | None,
        residual: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of the maps, and of the projections to one channel and from it.

        Args:
            dout: the gradient of the output.
            u: the decoder map.
            e: the encoder map.
            p: as in `apply`.
            due: the gradient of what `reduce` returns, None where that is.
            duu: the same, not necessarily symmetric.
            dee: the same.
            singles: dq, dk, dv and o, (b, 4, voxels), or None.
            wq: as in `reduce`.
            wk: as in `reduce`.
            wv: as in `reduce`.
            residual: whether `apply` added U.

        Returns:
            du, de: in the dtypes and memory formats of the maps.
            dwq, dwk, dwv, dwo: (cu+1,), (ce+1,), (ce+1,) and (c,), or None.
        """
        ...
