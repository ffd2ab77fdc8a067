"""Features far from 0 in single precision: as accurate as the reference, where the offset cancels and where not."""

import pytest
import torch
from torch import Tensor

from crossattn3d import CSCA
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import centers
from support.backends import CPP, FAST
from support.output_and_gradients import output_and_gradients
from support.random_parameters import assert_close, generator, normal, randomize

SIZE, OFFSET = (7, 16, 22), 100.0
#: Errors differ tenfold from seed to seed, and a hundredfold where two scores of a row are nearly as large: whichever
#: way rounds them apart by more then loses more, and on which seed that is depends on the processor. So medians count,
#: and of many seeds: those of one 16 were nine times those of another.
SEEDS = range(48)
#: Offsets that the projections do not cancel. Scores of `none`, `sqrt` and `mean` grow with them, until each row of the
#: attention is one-hot and its gradients are rounding alone.
KEPT = {"none": 30.0, "sqrt": 30.0, "mean": 30.0, "cosine": 100.0, "instance": 100.0}
#: Roundings of the largest value or gradient that any way of computing may lose.
FLOOR = 8 * 2.0**-24


def offset_maps(seed: int, offset: float) -> list[Tensor]:
    """Return maps of variance 1, whose mean is another for each channel and each sample."""
    g = generator(seed)
    return [
        (normal((2, c, *SIZE), g) + offset * (1 + 0.1 * normal((2, c, 1, 1, 1), g))).float().double() for c in (5, 6)
    ]


def attention(seed: int, score_norm: str, cancelling: list[Tensor]) -> CSCA:
    """Return an attention; with maps, one whose projections take the mean of the first sample to 0."""
    module = randomize(CSCA(5, 6, score_norm=score_norm), seed)
    for half in (module.channel, module.slices):
        for layer, x in zip((half.to_query, half.to_key, half.to_value), [*cancelling, *cancelling[1:]], strict=False):
            mean = x[0].mean((-3, -2, -1))
            with torch.no_grad():
                weight = layer.weight.flatten(1).double()
                weight -= (weight @ mean)[:, None] * mean / mean.square().sum()
                layer.weight.copy_(weight.reshape(layer.weight.shape))
    return module


def errors(score_norm: str, offset: float, cancels: bool) -> dict[str, dict[str, float]]:
    """Return RMS errors in float32 of each backend, and the size of what they err in: medians over seeds."""
    found: dict[str, dict[str, list[Tensor]]] = {}
    for seed in SEEDS:
        maps = offset_maps(seed, offset)
        module = attention(seed, score_norm, maps if cancels else [])
        single = [x.float() for x in maps]
        values = {way: output_and_gradients(module, *single, way) for way in ("reference", "torch", *CPP)}
        truth = output_and_gradients(module.double(), *maps, "reference")
        for way, value in (values | {"size": {}}).items():
            for name, exact in truth.items():
                error = value[name] - exact if value else exact
                found.setdefault(way, {}).setdefault(name, []).append(error.square().mean())
    return {
        way: {name: float(torch.stack(x).sqrt().median()) for name, x in kept.items()} for way, kept in found.items()
    }


@pytest.mark.parametrize("cancels", [False, True])
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_as_accurate_as_the_reference(score_norm, cancels):
    """The output and every gradient err at most 4 times as much as the reference in single precision."""
    found = errors(score_norm, OFFSET if cancels else KEPT[score_norm], cancels)
    plain, size = found.pop("reference"), found.pop("size")
    largest = max(size.values())
    for backend, ours in found.items():
        for name in size:
            of_gradients = size["output"] if name == "output" else largest
            assert ours[name] <= 4 * plain[name] + FLOOR * of_gradients, f"{backend} {name}"


@pytest.mark.parametrize("score_norm", ["instance", "cosine"])
def test_an_exported_attention_is_as_accurate(score_norm):
    """Though other runtimes get no float64 to fold the centers with."""
    ours, plain = [], []
    for seed in SEEDS[:3]:
        maps = offset_maps(seed, OFFSET)
        single = tuple(x.float() for x in maps)
        module = attention(seed, score_norm, maps)
        exported = torch.export.export(module, single).module()
        module.backend = "reference"
        with torch.no_grad():
            found = exported(*single), module(*single), module.double()(*maps)
        for kept, x in zip((ours, plain), found[:2], strict=True):
            kept.append((x - found[2]).square().mean())
    largest = found[2].square().mean().sqrt()
    assert torch.stack(ours).mean().sqrt() <= 4 * torch.stack(plain).mean().sqrt() + FLOOR * largest


def test_any_center_gives_the_same(monkeypatch):
    """In float64, where none is needed, values far from the means change nothing."""
    maps = offset_maps(0, 3.0)
    for score_norm in SCORE_NORMS:
        module = randomize(CSCA(5, 6, score_norm=score_norm).double(), 1)
        expected = output_and_gradients(module, *maps, "torch")
        for value in (0.0, -7.0):
            with monkeypatch.context() as patch:
                patch.setattr(
                    "crossattn3d.kernels.derivative.center_of", lambda x, value=value: x.new_full(x.shape[:2], value)
                )
                actual = output_and_gradients(module, *maps, "torch")
            for name, found in actual.items():
                assert_close(found, expected[name], 1e-9, f"{score_norm} {name}")


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_one_voxel_far_from_all_others_costs_no_digits(score_norm, backend):
    """Though it is among those that the centers are taken from."""
    maps = [x - x.mean((-3, -2, -1), keepdim=True) for x in offset_maps(0, 0.0)]
    for x in maps:
        x[:, :, 0, 0, 0] = 1e5
    module = randomize(CSCA(5, 6, score_norm=score_norm), 1)
    single = [x.float() for x in maps]
    ours, plain = (output_and_gradients(module, *single, way)["output"] for way in (backend, "reference"))
    truth = output_and_gradients(module.double(), *[x.double() for x in single], "reference")["output"]
    # Elsewhere: at the voxel itself, the output is as large as it is.
    ours, plain, size = (
        (x - truth * part)[..., 1:].square().mean().sqrt() for x, part in ((ours, 1), (plain, 1), (truth, 0))
    )
    assert ours <= 4 * plain + FLOOR * size


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 3, 5), (2, 8, 16), (9, 31, 37)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_centers_are_near_the_means(size, layout):
    x = normal((2, 3, *size), generator(0)) + torch.tensor([-50.0, 0.0, 20.0])[:, None, None, None]
    found = centers.center_of(x.contiguous(memory_format=layout))
    # Each run's mean is of 16 voxels, of one where there are few: the middle one is within 6 of its deviations.
    some = 16 if size[0] * size[1] * size[2] >= 256 else 1
    assert ((found - x.mean((2, 3, 4))).abs() <= 6 / some**0.5).all()


def test_centers_of_no_voxels_and_of_no_samples():
    assert torch.equal(centers.center_of(torch.ones(2, 3, 0, 4, 5)), torch.zeros(2, 3))
    assert centers.center_of(torch.ones(0, 3, 2, 4, 5)).shape == (0, 3)


def test_devices_without_float64_sum_in_float32():
    assert centers.wide_dtype(torch.device("mps")) == torch.float32
    assert centers.wide_dtype(torch.device("cpu")) == torch.float64
