"""The accuracy study's variants: every one trains, and those of the package are its own networks."""

import pytest
import torch

from benchmarks.accuracy.skips.studied_csca import StudiedCSCA, scores
from benchmarks.accuracy.variants import CHOSEN, GROUPS, make
from crossattn3d import CSCA, UCANet
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import reference
from crossattn3d.unet import ConcatSkip
from support.study_cases import TINY


@pytest.mark.parametrize("variant", sorted({v for group in GROUPS.values() for v in group}))
def test_every_variant_trains(variant: str) -> None:
    net = make(variant, TINY, 0)
    net(torch.randn(2, 1, 8, 16, 16)).square().mean().backward()
    missing = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("csca", r"variant 'csca': expected concat, add, .* or"),
        ("csca-l2", r"variant 'csca-l2': expected .*; got 'csca-l2'"),
        ("csca-mean+twice", r"got 'csca-mean\+twice'"),
        ("csca-sqrt+temperature", r"StudiedCSCA: expected score_norm to be one of 'mean', 'instance'; got 'sqrt'"),
        ("cca-mean+quiet", r"expected, with csca, one of \+axes, .*; got 'cca-mean\+quiet'"),
        ("csca-mean+axes+centered", r"expected, with csca, one of \+axes, .*; got 'csca-mean\+axes\+centered'"),
        ("csca-mean+fine+coarse", r"one of \+fine, \+coarse; got 'csca-mean\+fine\+coarse'"),
        ("concat,norm=layer", r"expected options of interpolate, up-norm, .*; got 'norm=layer'"),
    ],
)
def test_an_unknown_variant_is_refused(variant: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(variant, TINY, 0)


def test_the_chosen_variant_is_the_default_of_the_package() -> None:
    chosen = make(f"csca-{CHOSEN}", TINY, 0)
    net = UCANet(1, 3, TINY.channels)
    net.load_state_dict(chosen.state_dict())
    x = torch.randn(1, 1, 8, 16, 16)
    assert torch.equal(net.eval()(x), chosen.eval()(x))


def test_what_two_variants_share_starts_alike() -> None:
    one, other = (make(name, TINY, 3).state_dict() for name in ("concat", "csca-mean"))
    shared = [key for key in one if key in other and one[key].shape == other[key].shape and key.endswith("weight")]
    assert len(shared) > 10
    assert all(torch.equal(one[key], other[key]) for key in shared)
    another = make("concat", TINY, 4).state_dict()
    assert not torch.equal(one["encoder.0.0.weight"], another["encoder.0.0.weight"])


def test_a_quiet_csca_starts_as_its_channel_wise_half() -> None:
    quiet, half = (make(name, TINY, 0).double() for name in ("csca-mean+residual+quiet", "cca-mean+residual"))
    u, e = torch.randn(1, 3, 4, 6, 7).double(), torch.randn(1, 3, 4, 6, 7).double()
    half.skips[1].load_state_dict(quiet.skips[1].channel.state_dict())
    torch.testing.assert_close(quiet.skips[1](u, e), half.skips[1](u, e))


def test_attention_at_some_levels_leaves_concatenation_at_the_others() -> None:
    kinds = {
        change: [type(skip) for skip in make(f"csca-mean+{change}", TINY, 0).skips] for change in ("fine", "coarse")
    }
    assert kinds == {"fine": [CSCA, ConcatSkip, ConcatSkip], "coarse": [ConcatSkip, CSCA, CSCA]}


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_scores_are_those_of_the_specification(score_norm: str) -> None:
    q, k = torch.randn(2, 5, 30), torch.randn(2, 5, 30)
    t = torch.tensor(1.7)
    expected = reference.attention_map(q, k, t, score_norm)
    factor = t if score_norm == "cosine" else 1.0
    # Rounding of sums of 30 products in float32.
    torch.testing.assert_close(scores(q, k, score_norm, factor).softmax(-1), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("score_norm", ["mean", "instance"])
@pytest.mark.parametrize("residual", [False, True])
def test_studied_scores_start_as_the_package_s(score_norm: str, residual: bool) -> None:
    torch.manual_seed(1)
    studied = StudiedCSCA(4, 4, score_norm=score_norm, temperature=True, centered=False, residual=residual)
    plain = CSCA(4, 4, score_norm=score_norm, residual=residual)
    plain.load_state_dict({k: v for k, v in studied.state_dict().items() if k != "factors"})
    u, e = torch.randn(2, 4, 3, 5, 7), torch.randn(2, 4, 3, 5, 7)
    torch.testing.assert_close(studied(u, e), plain(u, e), rtol=1e-4, atol=1e-5)


def test_centered_scores_do_not_see_a_shift_of_all_features() -> None:
    q, k = torch.randn(1, 5, 30), torch.randn(1, 5, 30)
    torch.testing.assert_close(scores(q + 3, k - 2, "mean", centered=True), scores(q, k, "mean", centered=True))
    assert not torch.allclose(scores(q + 3, k - 2, "mean"), scores(q, k, "mean"))


def test_an_unknown_normalization_of_scores_is_refused() -> None:
    q = torch.rand(1, 2, 5)
    with pytest.raises(ValueError, match=r"scores: expected score_norm to be one of 'none', .*; got 'l2'"):
        scores(q, q, "l2")
