"""CTs found in folders, zips and DICOM exports; the rest is skipped with a line."""

import errno
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pydicom
import pytest

from ltvs.prediction.found import Findings, found_cts
from ltvs.prediction.record import RECORDS
from ltvs.prediction.whole import check_found
from ltvs.runtime.errors import InputError
from ltvs.sources.archives import DEEPEST
from ltvs.volume.images import read_ct
from support.ircadb_layout import write_series, zipped
from support.tiny_cases import tiny_case


def found(*inputs: Path, force: bool = False) -> Findings:
    with found_cts(inputs, force=force) as findings:
        return findings


def names(findings: Findings) -> dict[str, str]:
    """Return where each case comes from by its name."""
    return {ct.name: ct.shown for ct in findings.cts}


def write(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small series, which tests copy."""
    folder = tmp_path_factory.mktemp("exported")
    for name, number in (("a", 2), ("b", 3)):
        write_series(folder / name, tiny_case(name).ct[:, :, :4], SeriesNumber=number, PatientID=f"P{number}")
    return folder


def test_volume_files_in_subfolders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/x.nii.gz", "in/p1/ct.nrrd", "in/p2/ct.MHA", "in/p2/._ct.mha", "in/.hidden/y.nii", "in/notes.txt"):
        write(Path(name))
    findings = found(Path("in"))
    assert names(findings) == {"p1_ct": "in/p1/ct.nrrd", "p2_ct": "in/p2/ct.MHA", "x": "in/x.nii.gz"}
    assert findings.lines() == ["skipped (neither a volume nor DICOM): in/notes.txt"]
    assert names(found(Path("in/p1/ct.nrrd"))) == {"ct": "in/p1/ct.nrrd"}


def test_names_of_several_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a, b, c = (write(Path(name)) for name in ("p1/ct.nii", "p2/ct.nii", "p2/ct.nii.gz"))
    both = {"p1_ct": "p1/ct.nii", "p2_ct": "p2/ct.nii"}
    assert names(found(a, b)) == names(found(b, a)) == names(found(b, a, b, b.absolute())) == both
    three = names(found(a, b, c))
    assert three.keys() > {"p1_ct"}
    assert set(three.values()) == {str(path) for path in (a, b, c)}
    assert names(found(Path("p1"), a)) == {"ct": "p1/ct.nii"}


@pytest.mark.skipif(sys.platform == "win32", reason="names of files that Windows lacks")
def test_names_that_would_leave_the_folder_or_the_screen(tmp_path: Path) -> None:
    for name in (b"a\n\x1b[31m.nii", b"-rf.nii", b"\xff\xfe.nii", b"A.nii", b"a.nii", b"=1+1.nii"):
        (tmp_path / os.fsdecode(name)).touch()
    cases = found(tmp_path).cts
    assert len({ct.name.casefold() for ct in cases}) == 6
    for ct in cases:
        assert ct.name.isprintable()
        assert (tmp_path / f"{ct.name}.nii.gz").parent == tmp_path
        ct.name.encode()


def test_series_of_one_folder_are_told_apart(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        for file in (exported / name).iterdir():
            shutil.copy(file, write(Path("p/study") / f"{name}{file.name}"))
    findings = found(Path("p"))
    assert names(findings) == {"study_2": "p/study (series 2)", "study_3": "p/study (series 3)"}
    for ct, name in zip(findings.cts, "ab", strict=True):
        assert ct.slices is not None
        assert len(ct.slices) == 4
        read = read_ct(ct.place, files=ct.slices)
        assert read.GetSize()[2] == 4
        assert read[0, 0, 0] == tiny_case(name).ct[0, 0, 0]
    alike = Path("p/study/aimage_0")
    header = pydicom.dcmread(alike)
    header.SeriesNumber = None
    for file in Path("p/study").iterdir():
        slice_ = pydicom.dcmread(file)
        slice_.SeriesNumber, slice_.PatientID = 7, "P" + file.name[0]
        slice_.save_as(file)
    assert set(names(found(Path("p")))) == {"study_7_Pa", "study_7_Pb"}


def test_a_series_spread_over_folders_is_one(exported: Path, tmp_path: Path) -> None:
    for k in range(4):
        shutil.copy(exported / "a" / f"image_{k}", write(tmp_path / "export" / f"disk{k % 2}" / f"IM{k}"))
    # A copy of a slice, as exports have them, and another image of the same name.
    shutil.copy(exported / "a" / "image_0", write(tmp_path / "export" / "disk1" / "copy"))
    shutil.copytree(exported / "b", tmp_path / "export" / "other")
    findings = found(tmp_path / "export")
    assert set(names(findings)) == {"export", "other"}
    slices = {ct.name: ct.slices for ct in findings.cts}["export"]
    assert slices is not None
    assert len(slices) == 4
    assert read_ct(tmp_path / "export", files=slices).GetSize()[2] == 4


def test_what_is_no_ct_is_passed_over(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = tiny_case().ct[:, :, :3]
    shutil.copytree(exported / "a", "in/CT")
    write_series(Path("in/CT"), whole[:, :, :1], file_name="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(Path("in/MR"), whole, Modality="MR")
    write_series(Path("in/one"), whole[:, :, :1])
    write_series(Path("in/SC"), whole, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_series(Path("in/SEG"), whole, Modality="SEG")
    write_series(Path("in/mask"), tiny_case().liver[:, :, :3])
    report = pydicom.dcmread("in/one/image_0")
    report.Modality, report.SeriesInstanceUID = "SR", "1.2.3"
    for tag in ("PixelData", "Rows", "Columns"):
        delattr(report, tag)
    report.save_as("in/report.dcm")
    write(Path("in/DICOMDIR"), b"\0" * 128 + b"DICM")
    write(Path("in/archive.bin"), os.urandom(300))
    findings = found(Path("in"))
    assert names(findings) == {"CT": "in/CT"}
    assert findings.lines() == [
        "skipped (8-bit masks or pictures): in/mask",
        "skipped (DICOM of kind SEG): in/SEG",
        "skipped (DICOM without an image, SR): in/report.dcm",
        "skipped (Modality MR): in/MR",
        "skipped (localizer): in/CT/scout",
        "skipped (neither a volume nor DICOM): in/DICOMDIR, in/archive.bin",
        "skipped (secondary capture): in/SC",
        "skipped (single slice): in/one/image_0",
    ]
    assert set(names(found(Path("in"), force=True))) == {"CT", "MR", "mask"}


def test_many_files_are_not_many_lines(tmp_path: Path) -> None:
    for k in range(300):
        write(tmp_path / f"note{k:03}.txt")
    (line,) = found(tmp_path).lines()
    assert line.endswith(" and 295 more")


def test_a_damaged_file_is_not_left_out_of_its_series(exported: Path, tmp_path: Path) -> None:
    """Without its last slice, a CT would pass for a whole one."""
    for name in "ab":
        shutil.copytree(exported / name, tmp_path / "in" / name)
    last = tmp_path / "in" / "a" / "image_3"
    last.write_bytes(last.read_bytes()[:200])
    problems = {ct.name: ct.problem for ct in found(tmp_path / "in").cts}
    assert problems["b"] == ""
    assert "image_3: is DICOM but cannot be read, is it" in problems["a"]
    alone = write(tmp_path / "alone" / "x", last.read_bytes())
    (ct,) = found(tmp_path / "alone").cts
    assert (ct.name, ct.shown) == ("x", str(alone))
    assert "is DICOM but cannot be read" in ct.problem


def test_a_single_dicom_file(exported: Path, tmp_path: Path) -> None:
    assert found(exported / "a" / "image_1").lines() == [f"skipped (single slice): {exported / 'a' / 'image_1'}"]


def test_files_without_a_preamble_and_without_uids(exported: Path, tmp_path: Path) -> None:
    for file in (exported / "a").iterdir():
        header = pydicom.dcmread(file)
        del header.SeriesInstanceUID, header.StudyInstanceUID
        header.save_as(write(tmp_path / "old" / file.name))
        copied = (tmp_path / "old" / file.name).read_bytes()
        (tmp_path / "old" / file.name).write_bytes(copied[132:])
    (ct,) = found(tmp_path / "old").cts
    assert ct.name == "old"
    assert read_ct(ct.place, files=ct.slices).GetSize()[2] == 4


def test_zips(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported / "a", "in/p1/CT")
    shutil.copytree(exported / "b", "in/sub/p2/p2/CT")
    write(Path("in/p1/__MACOSX/x.nii"))
    write(Path("in/p3.zip"), b"not a zip")
    zipped(Path("in/p1"))
    zipped(Path("in/sub/p2"))
    with found_cts([Path("in")]) as findings:
        assert names(findings) == {"p1_CT": "in/p1.zip/CT", "p3": "in/p3.zip", "sub_p2_CT": "in/sub/p2.zip/p2/CT"}
        assert {ct.name for ct in findings.cts if ct.problem} == {"p3"}
        assert findings.cts[0].files[0].is_file()
    assert not findings.cts[0].files[0].exists(), "the temporary folder is removed"
    assert names(found(Path("in/p1.zip"))) == {"p1_CT": "in/p1.zip/CT"}
    with pytest.raises(InputError, match=r"in/p3\.zip: cannot be read as a zip"):
        found(Path("in/p3.zip"))
    shutil.copytree(exported / "a", "in/p1/CT")
    assert names(found(Path("in")))["p1_CT"] == "in/p1/CT", "it is unpacked already"


def nested(path: Path, content: Path, depth: int, name: str) -> None:
    """Write a zip that holds a file in so many zips, each of this name."""
    inner = content.read_bytes()
    for _ in range(depth):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(content.name if inner == content.read_bytes() else name, inner)
        inner = path.read_bytes()


@pytest.mark.parametrize("name", ["q.zip", "Q.ZIP"])
@pytest.mark.parametrize("depth", [DEEPEST, DEEPEST + 1, 40])
def test_zips_in_zips_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, depth: int) -> None:
    monkeypatch.chdir(tmp_path)
    ct = write(Path("ct.nii"), b"voxels")
    nested(Path("in.zip"), ct, depth, name)
    (one,) = found(Path("in.zip")).cts
    place = "/".join(["in.zip", *[name] * (DEEPEST - 1)])
    if depth == DEEPEST:
        assert (one.problem, one.shown) == ("", f"{place}/ct.nii")
    else:
        place = f"{place}/{name}"
        assert (one.problem, one.shown) == (f"{place}: lies in {DEEPEST} zips; unpack it, and give the folder", place)


def test_a_broken_zip_in_a_zip_costs_its_own_cts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in/all/p1/ct.nii"), b"voxels")
    zipped(Path("in/all/p1"))
    write(Path("in/all/p2.zip"), b"no zip")
    zipped(Path("in/all"))
    for given in ("in", "in/all.zip"):
        findings = found(Path(given))
        assert names(findings) == {"all_p1_ct": "in/all.zip/p1.zip/ct.nii", "all_p2": "in/all.zip/p2.zip"}
        good, bad = findings.cts
        assert good.problem == ""
        assert bad.problem.startswith("in/all.zip/p2.zip: cannot be read as a zip")


def test_a_damaged_slice_in_a_zip_has_its_place_in_the_zip(exported: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported / "a", "in/p1/CT")
    damaged = Path("in/p1/CT/image_2")
    damaged.write_bytes(damaged.read_bytes()[:200])
    zipped(Path("in/p1"))
    (ct,) = found(Path("in")).cts
    assert ct.problem.startswith("in/p1.zip/CT/image_2: is DICOM but cannot be read")


def test_dicom_files_given_one_by_one_are_a_series(exported: Path) -> None:
    files = sorted((exported / "a").iterdir())
    (ct,) = found(*files, *sorted((exported / "b").iterdir())[:1]).cts
    assert (ct.shown, ct.files) == (str(exported / "a"), tuple(files))


def test_one_slice_of_a_series_needs_the_others(exported: Path) -> None:
    one = sorted((exported / "a").iterdir())[0]
    findings = found(one)
    said = rf"{re.escape(str(one))}: no DICOM series found.*\(single slice\).*; give the folder with all slices$"
    with pytest.raises(InputError, match=said):
        check_found(findings, [one])


def test_files_of_this_command_are_no_cts(tmp_path: Path) -> None:
    write(tmp_path / "in" / "ct.nii.gz")
    write(tmp_path / "in" / "seg.nii.gz")
    write(tmp_path / "in" / "seg.measurements.json")
    write(tmp_path / "in" / "labeled" / "a.nii.gz")
    write(tmp_path / "in" / "labeled" / RECORDS / "a" / "record.json")
    findings = found(tmp_path / "in")
    assert set(names(findings)) == {"ct"}
    assert findings.passed_over["written by this command"] == [
        str(tmp_path / "in" / one) for one in ("seg.nii.gz", "labeled")
    ]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "ct.nii")
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b.nii").symlink_to(tmp_path / "in" / "a" / "ct.nii")
    assert len(found(tmp_path / "in").cts) == 1


def test_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: does not exist"):
        found(tmp_path / "none")


def test_what_nobody_would_miss_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in/a.nii"))
    Path("in/b.nii").symlink_to("removed.nii")
    write(Path("in/p.zip"))
    write(Path("in/p/a.nii"))
    findings = found(Path("in"))
    assert names(findings) == {"a": "in/a.nii", "p_a": "in/p/a.nii"}
    assert findings.lines() == [
        "skipped (a zip beside a folder of the same name): in/p.zip",
        "skipped (broken link): in/b.nii",
    ]


@pytest.mark.parametrize(("name", "content"), [("image_3", b""), ("image_3.dcm", b"unreadable" * 99)])
def test_a_slice_that_was_not_copied_is_not_left_out_of_its_series(
    exported: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(exported / "a", tmp_path / "in" / "a")
    (tmp_path / "in" / "a" / "image_3").unlink()  # the uppermost: those that are left look whole
    damaged = write(tmp_path / "in" / "a" / name, content)
    write(tmp_path / "in" / "elsewhere" / name, content)
    findings = found(tmp_path / "in")
    assert [ct.problem for ct in findings.cts] == [
        f"{damaged}: is beside slices, but no DICOM; copy it again, or remove it"
    ]
    assert findings.lines() == [f"skipped (neither a volume nor DICOM): {tmp_path / 'in' / 'elsewhere' / name}"]


def test_a_folder_that_cannot_be_read_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in/a.nii"))
    write(Path("in/locked/b.nii"))
    scandir = os.scandir

    def denied(place):
        if Path(place).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    # The mode of a folder does not keep root out.
    monkeypatch.setattr(os, "scandir", denied)
    findings = found(Path("in"))
    assert {ct.name: ct.problem for ct in findings.cts} == {
        "a": "",
        "locked": "in/locked: cannot be read (Permission denied), and may hold a CT",
    }
