"""The command line: what it accepts, says and leaves, on phantoms and on 3D-IRCADb as published."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import ltvs.sources.phantom
from ltvs.dataset.layout import PreparedSet
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import write_json
from ltvs.volume.case import Case
from ltvs.volume.images import write_volume
from prepare_ltvs import PrepareSettings, main
from support.crlm_layout import write_patient
from support.ircadb_layout import nested, write_usual
from support.tiny_cases import tiny_case
from support.volume_file_layouts import liver_and_tumor, vessel_and_tumor, write_own, write_task

SMALL = {"pixels": 16, "slice_spacing": 3.0, "liver_pixels": 16, "liver_slice_spacing": 3.0, "workers": 1}


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    monkeypatch.setattr(sys, "argv", ["prepare_ltvs.py", *map(str, words), *flags])
    run(main, PrepareSettings)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float | None, sitk.Image | None]]:
    """The phantoms that were asked for; a tiny case stands in for each."""
    asked = []

    def make_phantom(seed: int, *, matrix: int, slice_spacing: float | None, anatomy: sitk.Image | None) -> Case:
        asked.append((seed, matrix, slice_spacing, anatomy))
        return tiny_case(f"seed {seed}")

    monkeypatch.setattr(ltvs.sources.phantom, "make_phantom", make_phantom)
    return asked


def test_phantoms(tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "set ä"
    words = (
        "--source=phantom",
        "--output",
        out,
        "--count=7",
        "--seed=40",
        "--matrix=99",
        "--ct-slice-spacing=2.5",
        "--validation=2",
        "--test=3",
    )
    command(monkeypatch, *words)
    data = PreparedSet(out)
    assert data.cases == tuple(f"phantom-00{n}" for n in range(40, 47))
    assert {part: len(names) for part, names in data.split.items()} == {"train": 2, "validation": 2, "test": 3}
    assert made == [(seed, 99, 2.5, None) for seed in range(40, 47)]
    assert data.case(1, "phantom-0043").image.shape == (14, 16, 16)
    assert "7 cases of 7 patients in " in capsys.readouterr().out
    command(monkeypatch, *words)
    assert len(made) == 7, "a second run makes nothing"


def test_maps_are_painted_beside_the_phantoms(
    tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def paint(count: int, output: Path, workers: int) -> int:
        assert workers == 1
        assert (output / ".lock").exists(), "no other process paints here"
        for seed in range(count):
            write_json(output / "maps" / f"{seed:04d}" / "map.json", {})
        return count - 1

    monkeypatch.setattr("ltvs.dataset.preparing.paint_all", paint)
    words = ("--source=phantom", "--output", tmp_path, "--count=3")
    command(monkeypatch, *words, "--maps=7")
    assert f"7 maps of tissues in {tmp_path / 'maps'} (6 new)" in capsys.readouterr().out
    command(monkeypatch, *words, "--maps=2")
    assert f"7 maps of tissues in {tmp_path / 'maps'} (1 new)" in capsys.readouterr().out


def test_phantoms_around_anatomies(tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tmp_path / "maps"
    for name, label in (("b", 2), ("a", 1)):
        write_volume(sitk.GetImageFromArray(np.full((3, 4, 5), label, np.uint8)), maps / f"{name}.nii.gz")
    words = ("--source=phantom", "--output", tmp_path / "set", "--anatomy", maps)
    command(monkeypatch, *words, "--count=2")
    assert [int(sitk.GetArrayFromImage(anatomy).max()) for *_, anatomy in made] == [1, 2]
    with pytest.raises(InputError, match=r"--count: expected at most 2, one phantom per map in .*maps; got 3"):
        main(PrepareSettings("phantom", tmp_path / "set", count=3, anatomy=maps))
    with pytest.raises(InputError, match=r"expected label maps .* found none"):
        main(PrepareSettings("phantom", tmp_path / "set", count=1, anatomy=tmp_path))


def test_patients_and_a_bad_one_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    nested(write_usual(tmp_path / "in" / "3Dircadb1.1"))
    write_usual(tmp_path / "in" / "3Dircadb1.2", "another")
    (tmp_path / "in" / "3Dircadb1.3.zip").write_bytes(b"cut short")
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, "--source=ircadb", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "1 of 3 cases could not be prepared" in said.err
    (reason,) = (line for line in said.err.splitlines() if line.startswith("not prepared: "))
    assert reason.startswith("not prepared: ircadb-03: ")
    assert "3Dircadb1.3.zip: cannot be read as a zip" in reason
    assert "warning: too few patients for separate parts" in said.out
    data = PreparedSet(tmp_path / "out")
    assert data.cases == ("ircadb-01", "ircadb-02")
    np.testing.assert_array_equal(data.case(2, "ircadb-01").labels, data.case(2, "ircadb-02").labels)


def lits_cases(folder: Path, *numbers: int) -> Path:
    for number in numbers:
        write_volume(tiny_case(str(number)).ct, folder / f"volume-{number}.nii")
        write_volume(liver_and_tumor(tiny_case()), folder / f"segmentation-{number}.nii")
    return folder


def test_lits_is_warned_of_and_says_that_it_has_no_vessels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ("--source=lits", "--input", lits_cases(tmp_path / "in", 27, 28, 30, 48), "--output")
    command(monkeypatch, *words, tmp_path / "all")
    assert "(--leave-out): lits-028, lits-030, lits-048\n" in capsys.readouterr().err
    assert PreparedSet(tmp_path / "all").structures == ("liver", "tumor")
    command(monkeypatch, *words, tmp_path / "some", "--leave-out", "lits-028", "lits-030", "lits-048")
    assert "warning: LiTS" not in capsys.readouterr().err
    assert PreparedSet(tmp_path / "some").cases == ("lits-027",)


def test_shared_patients_in_one_cohort_are_refused_before_the_work(tmp_path: Path) -> None:
    for name in ("volume-30", "3Dircadb1.2", "other"):
        write_own(tmp_path / "in" / name, tiny_case(name))
    settings = PrepareSettings("ltvs", tmp_path / "out", input=tmp_path / "in", **SMALL)
    with pytest.raises(InputError, match=r"LiTS 28-48: .* got volume-30 beside 3Dircadb1.2;"):
        main(settings)
    assert not (tmp_path / "out").exists()
    main(dataclasses.replace(settings, leave_out=("volume-30",)))
    data = PreparedSet(tmp_path / "out")
    assert data.cases == ("3Dircadb1.2", "other")
    assert data.structures == ("liver", "tumor", "vessel")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("b", "zz", "y"), r"--leave-out: expected names of cases \(a, b, \.\.\.\); got y, zz"),
        (("a", "b"), "--leave-out: expected one case or more to be left; all 2 are left out"),
    ],
)
def test_what_cannot_be_left_out(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        main(PrepareSettings("ltvs", tmp_path / "out", input=tmp_path, leave_out=names))


def test_every_source_of_files_is_read(tmp_path: Path) -> None:
    case = tiny_case()
    write_usual(tmp_path / "ircadb" / "3Dircadb1.1")
    write_task(tmp_path / "msd03", {"liver_1": liver_and_tumor(case)})
    write_task(tmp_path / "msd08", {"hepaticvessel_001": vessel_and_tumor(case)})
    write_volume(case.liver, tmp_path / "livers" / "hepaticvessel_001.nii.gz")
    lits_cases(tmp_path / "lits", 1)
    write_patient(tmp_path / "crlm")
    write_own(tmp_path / "ltvs" / "one", case)
    kinds = {"ircadb": "ircadb-01", "msd03": "msd03-001", "msd08": "msd08-001", "lits": "lits-001"}
    kinds |= {"crlm": "crlm-1001", "ltvs": "one"}
    labels = {}
    for kind, name in kinds.items():
        liver = tmp_path / "livers" if kind == "msd08" else None
        main(PrepareSettings(kind, tmp_path / "out" / kind, input=tmp_path / kind, liver=liver, **SMALL))
        data = PreparedSet(tmp_path / "out" / kind)
        assert data.cases == (name,)
        labels[kind] = np.array(data.case(2, name).labels)
    for kind in ("msd08", "crlm", "ltvs"):
        np.testing.assert_array_equal(labels[kind], labels["ircadb"], err_msg=kind)
    for kind in ("msd03", "lits"):
        assert set(np.unique(labels[kind])) == {0, 1, 3}
        np.testing.assert_array_equal(labels[kind] == 3, labels["ircadb"] == 3)


def test_an_output_in_the_input(tmp_path: Path) -> None:
    write_own(tmp_path / "in" / "a", tiny_case())
    for output in (tmp_path / "in", tmp_path / "in" / "new"):
        with pytest.raises(InputError, match="is inside --input, which is never written to; give another folder"):
            main(PrepareSettings("ltvs", output, input=tmp_path / "in", **SMALL))
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a"]


def test_check_reports_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "in"
    good = tiny_case("good")
    write_own(folder / "good", dataclasses.replace(good, vessel=good.vessel * good.liver, tumor=good.tumor * 0))
    write_own(folder / "odd", tiny_case("odd"))
    write_own(folder / "twin", tiny_case("odd"))
    write_own(folder / "without", dataclasses.replace(tiny_case("without"), liver=good.liver * 0))
    (folder / "empty").mkdir()
    grids = ("--pixels=64", "--slice-spacing=0.5", "--liver-pixels=64", "--liver-slice-spacing=0.5")
    words = ("--source=ltvs", "--input", folder, "--check", *grids)
    before = contents(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prepare_ltvs.py", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        run(main, PrepareSettings)
    said = capsys.readouterr()
    assert contents(tmp_path) == before
    rows = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert "28x25x21" in rows["good"]
    assert "1.3, 2" in rows["good"]
    assert [rows[name].split()[-1] for name in ("good", "odd", "twin", "without", "empty")] == [
        "good", "warning", "error", "error", "error",
    ]  # fmt: skip
    lines = said.out.splitlines()
    assert sum(line.startswith("warning: odd: ") for line in lines) == 1
    assert sum(line.startswith("note: odd: ") for line in lines) == 1
    assert "error: twin: has the CT of odd, as another patient; remove one of the two" in lines
    assert "error: without: the liver mask is empty; leave the case out, or mark the liver" in lines
    assert any(line.startswith("error: ") and "empty: expected ct" in line for line in lines)
    assert lines[-1] == "checked 5: 1 good, 1 with warnings, 3 with errors; nothing was written"
    assert "error: 3 of 5 cases cannot be used, see above" in said.err
    output = tmp_path / "out"
    with pytest.raises(InputError, match="3 of 5 cases could not be prepared"):
        main(PrepareSettings("ltvs", output, input=folder, slice_spacing=0.5, liver_slice_spacing=0.5, workers=1))
    said = capsys.readouterr()
    assert PreparedSet(output).cases == ("good", "odd"), "the same errors stop the case"
    assert "warning: these cases have warnings, and --check prints them: odd" in said.out


def test_a_check_of_good_cases_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_own(tmp_path / "in" / "a", tiny_case("a"))
    command(monkeypatch, "--source=ltvs", "--input", tmp_path / "in", "--check")
    assert "checked 1: 0 good, 1 with warnings, 0 with errors" in capsys.readouterr().out


def test_two_sources_in_one_set_and_folds(
    tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    command(monkeypatch, "--source=phantom", "--count=8", "--output", out, "--folds=5")
    for name in ("x", "y"):
        write_own(tmp_path / "in" / name, tiny_case(name))
    capsys.readouterr()
    command(monkeypatch, "--source=ltvs", "--input", tmp_path / "in", "--output", out, "--folds=5")
    said = capsys.readouterr().out
    assert "kept 8 cases of other sources in the folder; the split is drawn again over all cases" in said
    assert "10 cases of 10 patients in " in said
    assert ": 7 train, 1 validation, 2 test (2 new)" in said
    assert "folds: fold1.json, fold2.json, fold3.json, fold4.json, fold5.json" in said
    folds = [PreparedSet(out, Path(f"fold{k}.json")).split for k in range(1, 6)]
    assert sorted(name for fold in folds for name in fold["test"]) == sorted(PreparedSet(out).cases)
    command(monkeypatch, "--source=phantom", "--count=7", "--output", out)
    assert "left out, because the source no longer has them: phantom-0007" in capsys.readouterr().out
    assert len(PreparedSet(out).cases) == 9
    assert not list(out.glob("fold*.json")), "folds of other cases"
    assert len(made) == 8


def test_a_split_that_cannot_be_is_said_before_the_work(
    tmp_path: Path, made: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltvs.dataset.preparing.paint_all", lambda *words: made.append(words))
    with pytest.raises(InputError, match="--validation 2 --test 3: expected to leave one or more of 4 patients"):
        main(PrepareSettings("phantom", tmp_path / "out", count=4, validation=2, test=3, maps=7))
    assert made == []
