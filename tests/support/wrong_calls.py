"""Wrong calls of the package's functions: options, ranks, sizes, widths, devices, projections."""

from collections.abc import Callable

import torch

from crossattn3d import CSCA
from crossattn3d import functional as F
from support.random_parameters import channel_parameters, maps, slice_parameters, static_mixture

U, E = maps(0, 2, 3, 4, (2, 3, 4))
CHANNEL, SLICES = channel_parameters(1, 3, 4, 4), slice_parameters(2, 3, 4, 4)

#: Name: (what is called, what the message must say in this order).
CALLS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "score_norm": (
        lambda: F.channel_cross_attention(U, E, CHANNEL, score_norm="softmax"),
        ["channel_cross_attention", "expected score_norm", "'none', 'sqrt', 'mean', 'cosine', 'instance'", "'softmax'"],
    ),
    "backend": (
        lambda: F.slice_cross_attention(U, E, SLICES, backend="cuda"),
        ["slice_cross_attention", "expected backend", "'auto', 'reference', 'torch'", "got 'cuda'"],
    ),
    "triton cannot": (
        lambda: F.slice_cross_attention(U.double(), E.double(), SLICES, backend="triton"),
        ["triton", "expected maps and a machine", "use backend='auto'"],
    ),
    "an earlier name of torch": (
        lambda: F.slice_cross_attention(U, E, SLICES, backend="factorised"),
        ["slice_cross_attention", "expected a backend by its present name", "got 'factorised'", "use backend='torch'"],
    ),
    "an earlier name of cpp": (
        lambda: CSCA(3, backend="native"),
        ["CSCA", "expected a backend by its present name", "got 'native'", "use backend='cpp'"],
    ),
    "cpp cannot": (
        lambda: F.channel_cross_attention(U.half(), E.half(), CHANNEL, backend="cpp"),
        ["cpp", "expected maps and a machine", "got maps of torch.float16", "use backend='auto'"],
    ),
    "slice_dim counts channels": (
        lambda: F.slice_attention_map(U, E, SLICES, slice_dim=1),
        ["slice_attention_map", "expected slice_dim", "-3, -2 or -1", "got 1"],
    ),
    "slice_dim out of range": (
        lambda: F.channel_slice_cross_attention(U, E, CHANNEL, SLICES, slice_dim=-6),
        ["channel_slice_cross_attention", "expected slice_dim", "got -6"],
    ),
    "a static mixture of other channels": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(static=static_mixture(3, 4, 5))),
        ["channel_cross_attention", "expected a static mixture of the 4 channels", "got", "[5, 5, 5] rows", "as many"],
    ),
    "query rank": (
        lambda: F.channel_attention_map(U[0], E, CHANNEL),
        ["channel_attention_map", "expected query as", "4 dimensions", "(3, 2, 3, 4)", "unsqueeze"],
    ),
    "context rank": (
        lambda: F.slice_cross_attention(U, E[:, :, 0], SLICES),
        ["slice_cross_attention", "expected context as", "4 dimensions", "(2, 4, 3, 4)", "unsqueeze"],
    ),
    "spatial sizes": (
        lambda: F.channel_cross_attention(U[..., :3], E, CHANNEL),
        ["expected query and context of one", "(2, 3, 2, 3, 3)", "(2, 4, 2, 3, 4)", "resize"],
    ),
    "batch sizes": (
        lambda: F.channel_cross_attention(U[:1], E, CHANNEL),
        ["expected query and context of one batch", "(1, 3, 2, 3, 4)", "(2, 4, 2, 3, 4)"],
    ),
    "query width": (
        lambda: F.channel_cross_attention(U[:, :2], E, CHANNEL),
        ["expected a query with 3 channels", "got 2", "query_channels=2"],
    ),
    "context width": (
        lambda: F.slice_cross_attention(U, E[:, :3], SLICES),
        ["expected a context with 4 channels", "got 3", "context_channels=3"],
    ),
    "value width": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(v_weight=torch.zeros(4, 5))),
        ["expected a context with 5 channels", "got 4"],
    ),
    "projections of different widths": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=torch.zeros(5, 4), k_bias=torch.zeros(5))),
        ["expected queries, keys and values of one width, ", "got [4, 5, 4]", "as many rows"],
    ),
    "temperature": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=None), score_norm="cosine"),
        ["expected a temperature for score_norm='cosine'", "got None", "scalar"],
    ),
    "whole numbers": (
        lambda: F.channel_cross_attention(U, E.long(), CHANNEL),
        ["expected context of floating-point numbers", "got torch.int64", "float32"],
    ),
    "weights of whole numbers": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=CHANNEL.k_weight.int())),
        ["expected k_weight as a tensor of floating-point numbers", "got torch.int32"],
    ),
    "no bias": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(v_bias=None)),
        ["expected v_bias as a tensor of floating-point numbers", "got NoneType"],
    ),
    "a temperature that is no tensor": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=1.5), score_norm="cosine"),
        ["expected temperature as a tensor", "got float"],
    ),
    "no projections": (
        lambda: F.channel_cross_attention(U, E, None),
        ["channel_cross_attention", "expected channel as ChannelParameters", "got NoneType"],
    ),
    "projections of slices for those of channels": (
        lambda: F.channel_attention_map(U, E, SLICES),
        ["channel_attention_map", "expected channel as ChannelParameters", "got SliceParameters"],
    ),
    "projections exchanged": (
        lambda: F.channel_slice_cross_attention(U, E, SLICES, CHANNEL),
        ["channel_slice_cross_attention", "expected channel as ChannelParameters", "got SliceParameters"],
    ),
    "one half without projections": (
        lambda: F.channel_slice_cross_attention(U, E, CHANNEL, None),
        ["channel_slice_cross_attention", "expected slices as SliceParameters", "got NoneType"],
    ),
    "slices without projections": (
        lambda: F.slice_cross_attention(U, E, (1, 2, 3)),
        ["slice_cross_attention", "expected slices as SliceParameters", "got tuple"],
    ),
    "a residual that is no flag": (
        lambda: F.channel_cross_attention(U, E, CHANNEL, residual="no"),
        ["channel_cross_attention", "expected residual to be True or False", "got 'no'"],
    ),
    "a slice_dim that is no int": (
        lambda: F.slice_cross_attention(U, E, SLICES, slice_dim=-3.0),
        ["expected slice_dim", "got -3.0"],
    ),
    "maps on two devices": (
        lambda: F.channel_cross_attention(U, E.to("meta"), CHANNEL),
        ["channel_cross_attention", "expected context on cpu", "got it on meta", ".to()"],
    ),
    "parameters elsewhere": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(out_bias=SLICES.out_bias.to("meta"))),
        ["slice_cross_attention", "expected out_bias on cpu", "got it on meta", ".to()"],
    ),
    "a temperature elsewhere that is not used": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=torch.ones((), device="meta"))),
        ["expected temperature on cpu", "got it on meta"],
    ),
    "a temperature for each row": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(temperature=torch.ones(4, 1)), score_norm="cosine"),
        ["expected temperature with 0 dimensions", "got (4, 1)"],
    ),
    "a temperature for each row that is not used": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(temperature=torch.ones(1))),
        ["expected temperature with 0 dimensions", "got (1,)"],
    ),
    "the weight of a convolution": (
        lambda: F.channel_cross_attention(U, E, CHANNEL._replace(k_weight=torch.zeros(4, 4, 1, 1, 1))),
        ["expected k_weight with 2 dimensions", "got (4, 4, 1, 1, 1)", "flatten"],
    ),
    "a bias of another width": (
        lambda: F.slice_cross_attention(U, E, SLICES._replace(out_bias=torch.zeros(3))),
        ["expected out_bias with 4 values", "got 3"],
    ),
    "slices of several channels": (
        lambda: F.slice_cross_attention(
            U,
            E,
            slice_parameters(2, 3, 4, 4)._replace(
                q_weight=torch.zeros(2, 3), k_weight=torch.zeros(2, 4), v_weight=torch.zeros(2, 4)
            ),
        ),
        ["expected queries, keys and values of one width, which is 1 for slices", "got [2, 2, 2]"],
    ),
    "parts of different widths": (
        lambda: F.channel_slice_cross_attention(U, E, CHANNEL, slice_parameters(0, 3, 4, 5)),
        ["expected both parts to give as many channels", "got 4 and 5"],
    ),
    "residual of another width": (
        lambda: F.channel_cross_attention(U, E, CHANNEL, residual=True),
        ["expected a query with the 4 channels of the output", "residual=True", "got 3", "residual=False"],
    ),
}
