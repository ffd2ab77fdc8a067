"""The accuracy study: cases, variants, a run that is stopped and goes on, scores by hand, and the command itself."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import data, probes
from benchmarks.accuracy.cases import (
    Prepared,
    Volume,
    batch,
    hardened,
    names_for_testing,
    names_for_training,
    prepare,
    read_case,
    write_case,
)
from benchmarks.accuracy.run import UNFINISHED, file_of, run
from benchmarks.accuracy.scoring import Skeletons, predicted, scored
from benchmarks.accuracy.skips import StudiedCSCA, scores
from benchmarks.accuracy.task import Task
from benchmarks.accuracy.variants import CHOSEN, GROUPS, make
from crossattn3d import CSCA, UCANet
from crossattn3d.functional import SCORE_NORMS
from crossattn3d.kernels import reference
from ltvs.case import Case
from ltvs.metrics import cldice

TINY = Task(channels=(2, 3, 4, 5), patch=(8, 16, 16), batch=2, steps=4)
CPU = torch.device("cpu")


def volume(seed: int = 0, shape: tuple[int, int, int] = (10, 20, 24)) -> Volume:
    """A liver with a vessel and a tumour."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[1:-1, 2:-2, 2:-2] = 1
    labels[3:5, 3:-3, 8:11] = 2
    labels[6:9, 12:17, 14:20] = 3
    hu = np.array([-80.0, 100.0, 160.0, 75.0])[labels] + rng.normal(0, 8, shape)
    return Volume(np.round(hu).astype(np.int16), labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases: one of each kind."""
    where = tmp_path_factory.mktemp("cases")
    for i, name in enumerate(("plain-train-000", "plain-000", "lits-10", "3dircadb-1")):
        write_case(where / f"{name}.npz", volume(i))
    return where


def test_a_case_is_written_and_read(tmp_path: Path) -> None:
    write_case(tmp_path / "a.npz", volume())
    again = read_case(tmp_path / "a.npz")
    assert np.array_equal(again.hu, volume().hu)
    assert np.array_equal(again.labels, volume().labels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_case_is_named(tmp_path: Path, keep: int) -> None:
    write_case(tmp_path / "a.npz", volume())
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.npz: expected a case of benchmarks\.accuracy\.data; got .*make it again"):
        read_case(tmp_path / "a.npz")


def test_no_code_is_loaded_from_a_case(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", hu=np.array([object()], dtype=object), labels=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_case(tmp_path / "a.npz")


@pytest.mark.parametrize("labels", [np.zeros((2, 3, 5), np.uint8), np.full((2, 3, 4), 4, np.uint8)])
def test_arrays_that_do_not_fit_are_no_case(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", hu=np.zeros((2, 3, 4), np.int16), labels=labels)
    with pytest.raises(ValueError, match=r"a\.npz: expected HU and labels of one shape, labels up to 3"):
        read_case(tmp_path / "a.npz")


def test_no_patient_is_on_both_sides(folder: Path) -> None:
    assert names_for_testing(folder) == ["3dircadb-1", "plain-000"]
    assert names_for_training(folder, "all") == ["lits-10", "plain-train-000"]
    assert names_for_training(folder, "plain") == ["plain-train-000"]


def test_a_folder_without_cases(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected cases, \*\.npz; found none"):
        names_for_testing(tmp_path)


def test_patients_of_ircadb_under_another_name_are_left_out(tmp_path: Path) -> None:
    for name in ("lits-27", "lits-28", "lits-48", "lits-49", "3dircadb-1"):
        (tmp_path / f"{name}.nii.gz").touch()
    names = [name for name in data.planned(tmp_path) if not name.startswith("plain")]
    assert sorted(names) == ["3dircadb-1", "lits-27", "lits-49"]
    seeds = [seed + attempt * data.NEXT for seed, _ in data.planned(tmp_path).values() for attempt in range(data.TRIES)]
    assert len(set(seeds)) == len(seeds)


def test_a_made_case_is_a_box_around_its_liver() -> None:
    made = data.made(3, None, matrix=64)
    inside = np.argwhere(made.labels > 0)
    assert inside.min(0).tolist() == [data.MARGIN] * 3
    assert (np.array(made.labels.shape) - 1 - inside.max(0)).tolist() == [data.MARGIN] * 3
    assert set(np.unique(made.labels)) == {0, 1, 2, 3}


def test_a_case_without_labelled_vessels_is_refused() -> None:
    image = sitk.Image(3, 4, 5, sitk.sitkUInt8)
    with pytest.raises(ValueError, match="a: expected vessels; got none; use a source that labels them"):
        data.cut(Case("a", image, image + 1, None, image))


def test_less_contrast_more_noise_and_isodense_tumours() -> None:
    plain = replace(TINY, contrast=1.0, noise=0.0, isodense=0.0)
    case, liver = volume(), volume().labels == 1

    def contrast(task: Task, label: int) -> float:
        hu = hardened(case, task, np.random.default_rng(0)).astype(float)
        return float(hu[case.labels == label].mean() - np.median(hu[liver]))

    assert np.array_equal(hardened(case, plain, np.random.default_rng(0)), case.hu)
    assert contrast(replace(plain, contrast=0.5), 2) == pytest.approx(0.5 * contrast(plain, 2), abs=0.5)
    assert contrast(plain, 3) < -20
    # Its surface is soft, so that a part of the distance stays.
    assert -8 < contrast(replace(plain, isodense=1.0), 3) < 1
    noisy = hardened(case, replace(plain, noise=20.0), np.random.default_rng(0)).astype(float) - case.hu
    assert noisy.std() == pytest.approx(20, rel=0.02)


def test_a_case_is_the_same_whatever_else_there_is() -> None:
    one, other = (prepare("a", volume(), TINY) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert not np.array_equal(one.image, prepare("b", volume(), TINY).image)
    assert (one.image[volume().labels == 0] == 0).all()


def test_patches_are_decided_by_seed_and_step() -> None:
    cases = [prepare(name, volume(i), TINY) for i, name in enumerate("ab")]
    image, target = batch(cases, TINY, 5, 7)
    again = batch(cases, TINY, 5, 7)
    assert torch.equal(image, again[0])
    assert torch.equal(target, again[1])
    assert image.shape == target.shape == (2, 1, 8, 16, 16)
    assert not torch.equal(image, batch(cases, TINY, 5, 8)[0])
    assert not torch.equal(image, batch(cases, TINY, 6, 7)[0])


def test_each_class_is_in_the_middle_as_often() -> None:
    case = prepare("a", volume(), TINY)
    large = replace(TINY, batch=300)
    middle = batch([case], large, 0, 0)[1][:, 0, 4, 8, 8]
    shares = torch.bincount(middle.long(), minlength=3) / 300
    # A third each, of which turning may move a few to the next pixel: within five standard deviations, 0.14.
    assert shares.min() > 1 / 3 - 0.14


@pytest.mark.parametrize("variant", sorted({v for group in GROUPS.values() for v in group}))
def test_every_variant_trains(variant: str) -> None:
    net = make(variant, TINY, 0)
    net(torch.randn(2, 1, 8, 16, 16)).square().mean().backward()
    missing = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("csca", r"variant 'csca': expected concat, add, no-skip or"),
        ("csca-l2", r"variant 'csca-l2': expected .*; got 'csca-l2'"),
        ("csca-mean+twice", r"got 'csca-mean\+twice'"),
        ("csca-sqrt+temperature", r"StudiedCSCA: expected score_norm to be one of 'mean', 'instance'; got 'sqrt'"),
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


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
def test_scores_are_those_of_the_specification(score_norm: str) -> None:
    q, k = torch.randn(2, 5, 30), torch.randn(2, 5, 30)
    t = torch.tensor(1.7)
    expected = reference.attention(q, k, t, score_norm)
    factor = t if score_norm == "cosine" else 1.0
    # Rounding of sums of 30 products in float32.
    torch.testing.assert_close(scores(q, k, score_norm, factor).softmax(-1), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("score_norm", ["mean", "instance"])
@pytest.mark.parametrize("residual", [False, True])
def test_studied_scores_start_as_the_package_s(score_norm: str, residual: bool) -> None:
    torch.manual_seed(1)
    studied = StudiedCSCA(4, 4, score_norm=score_norm, temperature=True, centred=False, residual=residual)
    plain = CSCA(4, 4, score_norm=score_norm, residual=residual)
    plain.load_state_dict({k: v for k, v in studied.state_dict().items() if k != "factors"})
    u, e = torch.randn(2, 4, 3, 5, 7), torch.randn(2, 4, 3, 5, 7)
    torch.testing.assert_close(studied(u, e), plain(u, e), rtol=1e-4, atol=1e-5)


def test_centred_scores_do_not_see_a_shift_of_all_features() -> None:
    q, k = torch.randn(1, 5, 30), torch.randn(1, 5, 30)
    torch.testing.assert_close(scores(q + 3, k - 2, "mean", centred=True), scores(q, k, "mean", centred=True))
    assert not torch.allclose(scores(q + 3, k - 2, "mean"), scores(q, k, "mean"))


def test_scores_by_hand() -> None:
    target = np.zeros((2, 3, 4), np.uint8)
    target[0, 0] = 1
    prediction = torch.zeros(2, 3, 4, dtype=torch.long)
    prediction[0, 0, :2] = 1
    found = scored(prediction, Prepared("a", target.astype(np.float32), target), None)
    assert found == {
        "vessel": {"dice": pytest.approx(2 / 3), "iou": pytest.approx(0.5)},
        "tumor": {"dice": None, "iou": None},
    }


def test_cldice_agrees_with_the_pipeline_s() -> None:
    line = np.zeros((12, 14, 30), bool)
    line[5:8, 5:8, 2:-2] = True
    half = line.copy()
    half[:, :, 15:] = False
    ours = Skeletons().cldice(torch.from_numpy(half), torch.from_numpy(line), "a")
    # Other skeletons, ends by a radius shorter or longer: 3 of 26 voxels.
    assert ours == pytest.approx(cldice(half, line), abs=3 / 26)
    nothing = torch.zeros(line.shape, dtype=torch.bool)
    assert Skeletons().cldice(nothing, torch.from_numpy(line), "a") == 0
    assert Skeletons().cldice(nothing, nothing, "a") is None


class Threshold(torch.nn.Module):
    """Vessels are what is bright, tumours what is dark."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x) + 0.4, x, -x], dim=1)


@pytest.mark.parametrize("patch", [(8, 16, 16), (8, 8, 8), (8, 32, 32)])
def test_a_case_is_predicted_at_any_patch_size(patch: tuple[int, int, int]) -> None:
    case = prepare("a", volume(), replace(TINY, noise=0.0, contrast=1.0, isodense=0.0))
    expected = Threshold()(torch.from_numpy(case.image)[None, None])[0].argmax(0)
    assert torch.equal(predicted(Threshold(), case, patch, CPU), expected)


def test_probes_of_even_attention() -> None:
    net = make("csca-mean", TINY, 0)
    for skip in net.skips:
        torch.nn.init.zeros_(skip.channel.to_query.weight)
        torch.nn.init.zeros_(skip.channel.to_query.bias)
    seen = probes.probed(net.eval(), [prepare("a", volume(), TINY)], (8, 16, 16), CPU)
    assert len(seen) == 3
    for probe in seen:
        assert probe["channel"] == {"spread": 0, "entropy": pytest.approx(1)}
        assert probe["slices"]["spread"] > 0


@pytest.mark.parametrize(
    ("variant", "halves"),
    [("sca-none", {"slices"}), ("cca-sqrt", {"channel"}), ("csca-instance+centred", {"channel", "slices"}),
     ("csca-cosine+axes", {"channel", "slices"}), ("csca-mean+concat", {"channel", "slices"})],
)  # fmt: skip
def test_probes_see_what_the_attention_is_made_of(variant: str, halves: set[str]) -> None:
    seen = probes.probed(make(variant, TINY, 0).eval(), [prepare("a", volume(), TINY)], (8, 16, 16), CPU)
    assert [set(probe) for probe in seen] == [halves] * 3


def test_probed_entropy_is_that_of_the_attention_maps() -> None:
    net = make("csca-instance", TINY, 0).eval()
    case = prepare("a", volume(), TINY)
    probe = probes.probed(net, [case], (8, 16, 16), CPU)[0]["channel"]
    kept = {}
    net.skips[0].register_forward_hook(lambda module, maps, out: kept.update(m=module.attention_maps(*maps).channel))
    net(torch.from_numpy(probes.filled(case.image, (8, 16, 16)))[None, None])
    m = kept["m"]
    assert probe["entropy"] == pytest.approx(float(-(m * m.log()).sum(-1).mean().detach() / np.log(2)), rel=1e-4)


def test_a_case_is_mirrored_to_any_size() -> None:
    image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    assert probes.filled(image, (2, 3, 4)).tolist() == image.tolist()
    assert probes.filled(image, (2, 1, 2)).tolist() == image[:, 1:2, 1:3].tolist()
    assert probes.filled(image, (1, 1, 12))[0, 0].tolist() == [7, 6, 5, 4, 4, 5, 6, 7, 7, 6, 5, 4]


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(runs: Path, seconds: float = 600) -> int:
        runs.mkdir(exist_ok=True)
        return run(folder, runs, "csca-instance", 1, "all", TINY, CPU, seconds)

    def until_step_2(cases: list[Prepared], task: Task, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 2:
            raise Killed
        return batch(cases, task, seed, step)

    assert go_on(tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        patched.setattr("benchmarks.accuracy.run.EVERY", 0.0)
        patched.setattr("benchmarks.accuracy.run.batch", until_step_2)
        with pytest.raises(Killed):
            go_on(tmp_path / "killed")
    assert go_on(tmp_path / "killed", seconds=0) == UNFINISHED
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["csca-instance-1.pt"]
    assert torch.load(tmp_path / "killed" / "csca-instance-1.pt", weights_only=True)["state"]["step"] == 2
    assert go_on(tmp_path / "killed") == 0
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["csca-instance-1.json"]
    whole, again = (json.loads((tmp_path / n / "csca-instance-1.json").read_text()) for n in ("whole", "killed"))
    for key in ("scores", "losses", "parameters", "task", "probes", "finite"):
        assert again[key] == whole[key]
    assert set(whole["scores"]) == {"1", "0.25", "4"}
    assert set(whole["scores"]["1"]) == {"plain-000", "3dircadb-1"}
    assert set(whole["probes"]) == {"8x8x8", "8x16x16", "8x32x32", "32x320x320"}


def test_a_loss_that_is_not_finite_ends_the_run(folder: Path, tmp_path: Path) -> None:
    task = replace(TINY, learning_rate=1e30, steps=30)
    assert run(folder, tmp_path, "concat", 0, "plain", task, CPU, 600) == 0
    report = json.loads(file_of(tmp_path, "concat", 0, "plain").read_text())
    assert not report["finite"]
    assert report["scores"] == report["probes"] == {}


def test_seeds_come_before_variants_and_finished_runs_are_not_made_again(tmp_path: Path) -> None:
    arguments = command.argparse.Namespace(seeds=[0, 1], runs=tmp_path, data="all")
    file_of(tmp_path, "add", 0, "all").touch()
    order = list(command._order(arguments, ["concat", "add", "concat"]))
    assert order == [("concat", 0), ("concat", 1), ("add", 1)]


def accuracy(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", *map(str, options)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected --group or --variants; got neither"),
        (["--variants", "conct"], "variant 'conct': expected concat"),
    ],
)
def test_wrong_arguments_are_named(folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = accuracy("--cases", folder, "--runs", tmp_path / "runs", *options)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_folder_without_cases_ends_a_run_in_one_line(tmp_path: Path) -> None:
    done = accuracy("--cases", tmp_path, "--runs", tmp_path / "runs", "--variants", "add", "--seeds", 0)
    assert done.returncode == 1
    assert "add 0: failed, exit 2" in done.stdout
    assert done.stderr.strip() == (
        f"error: {tmp_path}: expected cases, *.npz; found none; make them with benchmarks.accuracy.data"
    )


@pytest.mark.slow
def test_the_study_runs_in_several_calls(folder: Path, tmp_path: Path) -> None:
    options = ("--cases", folder, "--runs", tmp_path, "--variants", "no-skip", "--seeds", 0)
    stopped = accuracy(*options, "--minutes", 0.15)
    assert stopped.returncode == UNFINISHED, stopped.stderr
    assert "no-skip 0: not finished" in stopped.stdout
    assert file_of(tmp_path, "no-skip", 0, "all").with_suffix(".pt").exists()
    assert accuracy(*options, "--minutes", 10).returncode == 0
    assert "0 runs to make" in accuracy(*options).stdout


def test_the_study_needs_no_more_than_it_says() -> None:
    check = (
        "import sys; sys.modules |= dict.fromkeys(('SimpleITK', 'skimage', 'matplotlib', 'lightning_fabric', "
        "'nibabel', 'pydicom', 'highdicom', 'tyro', 'rich', 'tqdm', 'safetensors', 'tensorboard')); "
        "import benchmarks.accuracy.__main__, benchmarks.accuracy.run"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[1], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
