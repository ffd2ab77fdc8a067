"""The attention modules: kornia's checklist for each of the three."""

import copy
import io
import pickle

import pytest
import torch

from crossattn3d import CSCA, AttentionMaps, ChannelCrossAttention3d, SliceCrossAttention3d, functional
from crossattn3d.functional import SCORE_NORMS, Attention
from support.backends import EVERY
from support.random_parameters import assert_close, maps, randomize

MODULES = [ChannelCrossAttention3d, SliceCrossAttention3d, CSCA]
SIZE = (3, 4, 5)

pytestmark = pytest.mark.parametrize("make", MODULES)


def names_of(make, cosine):
    channel = [f"to_{x}.{y}" for x in ("query", "key", "value") for y in ("weight", "bias")]
    slices = [*channel, "to_out.weight", "to_out.bias"]
    temperature = ["temperature"] if cosine else []
    channel, slices = temperature + channel, temperature + slices
    return {
        ChannelCrossAttention3d: channel,
        SliceCrossAttention3d: slices,
        CSCA: [f"channel.{n}" for n in channel] + [f"slices.{n}" for n in slices],
    }[make]


@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (4, None), (1, 1)])
def test_shapes(make, widths):
    query_channels, context_channels = widths
    module = make(query_channels, context_channels)
    context_channels = query_channels if context_channels is None else context_channels
    assert (module.query_channels, module.context_channels) == (query_channels, context_channels)
    assert module.out_channels == context_channels
    query, context = maps(0, 2, query_channels, context_channels, SIZE, torch.float32)
    assert module(query, context).shape == (2, context_channels, *SIZE)


def test_options_are_kept_in_one_place(make):
    options = {"score_norm": "sqrt", "residual": True, "slice_dim": -1, "backend": "reference"}
    module = make(4, 4, **options)
    assert {name: getattr(module, name) for name in options} == options
    assert module.attention == Attention(**options)
    for part in module.children():
        assert not any(hasattr(part, name) for name in options)
    assert repr(module).startswith(f"{make.__name__}(\n  4, 4, score_norm='sqrt', residual=True, slice_dim=-1")


def test_defaults(make):
    module = make(4)
    assert (module.score_norm, module.residual, module.slice_dim, module.backend) == ("instance", True, -3, "auto")
    # Nothing can be added where the widths differ.
    assert not make(4, 5).residual


@pytest.mark.parametrize("slice_dim", [-3, -2, -1])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_equals_the_function(make, score_norm, slice_dim):
    options = {"score_norm": score_norm, "residual": True}
    module = randomize(make(4, 4, slice_dim=slice_dim, **options).double(), 1)
    query, context = maps(2, 2, 4, 4, SIZE)
    if make is ChannelCrossAttention3d:
        expected = functional.channel_cross_attention(query, context, module.parameters_of_attention(), **options)
    elif make is SliceCrossAttention3d:
        expected = functional.slice_cross_attention(
            query, context, module.parameters_of_attention(), slice_dim=slice_dim, **options
        )
    else:
        parts = module.channel.parameters_of_attention(), module.slices.parameters_of_attention()
        expected = functional.channel_slice_cross_attention(query, context, *parts, slice_dim=slice_dim, **options)
    assert torch.equal(module(query, context), expected)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_equals_convolutions_and_softmax(make, score_norm, backend):
    """The module's own layers called as layers: the parameters reach the function in the right places."""
    module = randomize(make(3, 4, score_norm=score_norm, backend=backend).double(), 3)
    query, context = maps(4, 2, 3, 4, SIZE)
    expected = torch.zeros(2, 4, *SIZE, dtype=torch.float64)
    if make is not SliceCrossAttention3d:
        part = module.channel if make is CSCA else module
        attention = module.attention_maps(query, context)
        attention = attention.channel if make is CSCA else attention
        expected = expected + torch.einsum("bij,bjdhw->bidhw", attention, part.to_value(context))
        _check_scores(attention, part.to_query(query).flatten(2), part.to_key(context).flatten(2), part, score_norm)
    if make is not ChannelCrossAttention3d:
        part = module.slices if make is CSCA else module
        attention = module.attention_maps(query, context)
        attention = attention.slices if make is CSCA else attention
        expected = expected + part.to_out(torch.einsum("bij,bcjhw->bcihw", attention, part.to_value(context)))
        q, k = part.to_query(query)[:, 0].flatten(2), part.to_key(context)[:, 0].flatten(2)
        _check_scores(attention, q, k, part, score_norm)
    assert_close(module(query, context), expected, 1e-12)


def _check_scores(attention, q, k, part, score_norm):
    scores, length = q @ k.mT, q.shape[-1]
    if score_norm == "cosine":
        scores = part.temperature * scores / q.norm(dim=-1)[:, :, None] / k.norm(dim=-1)[:, None, :]
    elif score_norm == "instance":
        scores = torch.nn.functional.instance_norm(scores[:, None] / length, eps=1e-5)[:, 0]
    else:
        scores = scores / {"none": 1, "sqrt": length**0.5, "mean": length}[score_norm]
    assert_close(attention, scores.softmax(-1), 1e-10)


def test_attention_maps(make):
    module = randomize(make(3, 4, slice_dim=-1).double(), 5)
    attention = module.attention_maps(*maps(6, 2, 3, 4, SIZE))
    if make is CSCA:
        assert isinstance(attention, AttentionMaps)
        attention = dict(attention._asdict())
    else:
        attention = {"channel" if make is ChannelCrossAttention3d else "slices": attention}
    sides = {"channel": 4, "slices": 5}
    for name, matrix in attention.items():
        assert matrix.shape == (2, sides[name], sides[name])
        assert (matrix > 0).all()
        assert_close(matrix.sum(-1), torch.ones(2, sides[name], dtype=torch.float64), 1e-12)
        assert not torch.allclose(matrix.sum(-2), torch.ones(2, sides[name], dtype=torch.float64), atol=1e-3)


@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
def test_names_and_state_dict_round_trip(make, score_norm):
    module = randomize(make(3, 4, score_norm=score_norm), 7)
    assert list(module.state_dict()) == names_of(make, score_norm == "cosine")
    other = make(3, 4, score_norm=score_norm)
    query, context = maps(8, 1, 3, 4, SIZE, torch.float32)
    assert not torch.equal(other(query, context), module(query, context))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(query, context), module(query, context))


@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
def test_copies(make, score_norm):
    module = randomize(make(3, 4, score_norm=score_norm), 9)
    query, context = maps(10, 1, 3, 4, SIZE, torch.float32)
    expected = module(query, context)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)]
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1)
    assert not torch.equal(module(query, context), expected)
    assert all(torch.equal(duplicate(query, context), expected) for duplicate in copies)


@pytest.mark.parametrize("backend", EVERY)
def test_memory_layouts(make, backend):
    module = randomize(make(3, 4, backend=backend).double(), 11)
    query, context = maps(12, 2, 3, 4, SIZE)
    expected = module(query, context)
    channels_last = [x.contiguous(memory_format=torch.channels_last_3d) for x in (query, context)]
    transposed = [x.transpose(2, 4).contiguous().transpose(2, 4) for x in (query, context)]
    strided = [x.repeat_interleave(2, -1)[..., ::2] for x in (query, context)]
    for layout in (channels_last, transposed, strided):
        assert not layout[0].is_contiguous()
        assert not layout[1].is_contiguous()
        assert_close(module(*layout), expected, 1e-12)
        assert_close(module(layout[0], context), expected, 1e-12)
    module = module.to(memory_format=torch.channels_last_3d)
    assert_close(module(*channels_last), expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_module_dtypes(make, dtype):
    module = randomize(make(3, 4), 13).to(dtype)
    query, context = maps(14, 1, 3, 4, SIZE, dtype)
    out = module(query, context)
    out.sum().backward()
    assert out.dtype == dtype
    expected = copy.deepcopy(module).double()(query.double(), context.double())
    assert_close(out.double(), expected, 8 * torch.finfo(dtype).eps)
    assert all(torch.isfinite(p.grad).all() and p.grad.dtype == dtype for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(make, dtype):
    """Half-precision maps from layers before, float32 parameters: half precision out, near the float32 result."""
    module = randomize(make(3, 4), 15)
    query, context = maps(16, 1, 3, 4, SIZE, dtype)
    with torch.autocast("cpu", dtype):
        out = module(query, context)
    out.float().sum().backward()
    assert out.dtype == dtype
    assert_close(out.float(), module(query.float(), context.float()), 4 * torch.finfo(dtype).eps)
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in module.parameters())


def test_training_mode_makes_no_difference(make):
    module = randomize(make(3, 4).double(), 17)
    query, context = maps(18, 2, 3, 4, SIZE)
    assert torch.equal(module.train()(query, context), module.eval()(query, context))


def test_gradcheck(make):
    module = randomize(make(2, 3, score_norm="cosine").double(), 19)
    query, context = (x.requires_grad_() for x in maps(20, 2, 2, 3, (2, 1, 3)))
    names, values = zip(*module.named_parameters(), strict=True)

    def run(query, context, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (query, context))

    inputs = [query, context, *(v.detach().clone().requires_grad_() for v in values)]
    assert torch.autograd.gradcheck(run, inputs)


def test_it_learns(make):
    """A few steps of Adam reduce the loss, with every parameter moved."""
    torch.manual_seed(0)
    module = make(3, 4, score_norm="cosine")
    start = copy.deepcopy(module.state_dict())
    query, context = maps(21, 2, 3, 4, SIZE, torch.float32)
    target = maps(22, 2, 3, 4, SIZE, torch.float32)[1]
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = (module(query, context) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(not torch.equal(value, start[name]) for name, value in module.state_dict().items())


OTHER = {"score_norm": "mean", "residual": False, "slice_dim": -1, "backend": "torch"}


@pytest.mark.parametrize("name", OTHER)
def test_an_option_that_is_set_holds_for_everything(make, name):
    """For the result, for the attention maps, and for what is shown: as if the module was made with it."""
    module = randomize(make(4, 4), 23).double()
    other = make(4, 4, **{name: OTHER[name]}).double()
    other.load_state_dict(module.state_dict())
    setattr(module, name, OTHER[name])
    given = maps(24, 2, 4, 4, SIZE)
    assert torch.equal(module(*given), other(*given))
    shown = [m.attention_maps(*given) for m in (module, other)]
    for a, b in zip(*([x] if isinstance(x, torch.Tensor) else x for x in shown), strict=True):
        assert torch.equal(a, b)
    assert repr(module) == repr(other)
    assert module.attention == other.attention


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("score_norm", "l2", "expected score_norm"),
        ("score_norm", "cosine", "expected a temperature for score_norm='cosine'; got None"),
        ("residual", True, "equal widths for residual=True"),
        ("residual", "no", "expected residual"),
        ("slice_dim", 1, "expected slice_dim"),
        ("backend", "gpu", "expected backend"),
        ("context_channels", 5, "expected context_channels to stay 4, .*; got 5"),
    ],
)
def test_what_is_refused_when_it_is_set_changes_nothing(make, name, value, message):
    module = make(3, 4)
    before = repr(module), module.attention
    with pytest.raises(ValueError, match=f"{make.__name__}: .*{message}"):
        setattr(module, name, value)
    assert (repr(module), module.attention) == before


def test_halves_hold_no_options(make):
    """Nor take them silently."""
    for half in ("channel", "slices") if make is CSCA else ():
        with pytest.raises(ValueError, match="expected residual to be set on the CSCA"):
            make(4).get_submodule(half).residual = False
