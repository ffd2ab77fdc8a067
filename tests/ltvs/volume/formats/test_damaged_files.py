"""Files that lack voxels, have too many or were damaged: refused in one line, in every format."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ltvs.runtime.errors import InputError
from ltvs.volume.images import read_ct, read_mask, same_grid
from support.noise_volumes import FILES, noise, written


def refused(path: Path, message: str) -> None:
    for read in (read_ct, read_mask):
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "compressed"), FILES)
def test_a_whole_file_is_read_voxel_by_voxel(suffix: str, compressed: bool, tmp_path: Path) -> None:
    written(tmp_path / f"ct{suffix}", compressed)
    read = read_ct(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(noise()))
    assert same_grid(read, noise())


@pytest.mark.parametrize(("suffix", "compressed"), FILES)
@pytest.mark.parametrize("missing", [1, 2, 9, 100])
def test_a_file_cut_short(suffix: str, compressed: bool, missing: int, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(written(path, compressed)[:-missing])
    refused(path, "is cut short|is it complete")


@pytest.mark.parametrize(("suffix", "compressed"), FILES)
@pytest.mark.parametrize("more", [b"\1", b"garbage " * 99])
def test_a_file_with_something_after_its_voxels(suffix: str, compressed: bool, more: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(written(path, compressed) + more)
    refused(path, "bytes of voxels as its header says, got more|is cut short or damaged")


@pytest.mark.parametrize(("suffix", "compressed"), [file for file in FILES if file[1]])
@pytest.mark.parametrize("place", [0.4, 0.6, 0.8, 0.97])
def test_compressed_voxels_damaged_in_the_middle(suffix: str, compressed: bool, place: float, tmp_path: Path) -> None:
    """ITK read the voxels after the damage from memory: those of the file read before, another patient's."""
    path = tmp_path / f"ct{suffix}"
    content = bytearray(written(path, compressed, noise((17, 16, 15))))
    start = 0 if suffix == ".nii.gz" else max(content.rfind(b"LOCAL\n"), content.rfind(b"\n\n"))
    content[start + int(place * (len(content) - start))] ^= 0x55
    path.write_bytes(content)
    refused(path, "is cut short or damaged|got more|is it complete")


@pytest.mark.parametrize("wrong", [-8, -4])
def test_a_wrong_checksum_or_length_at_the_end_of_gzip(wrong: int, tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    content = bytearray(written(path, True))
    content[wrong] ^= 1
    path.write_bytes(content)
    refused(path, r"is cut short or damaged \((CRC check failed|Incorrect length)")


@pytest.mark.parametrize("more", [-4, 1])
def test_compressed_voxels_of_mha_end_with_their_checksum(more: int, tmp_path: Path) -> None:
    """The header counts the bytes that are there, so that only the stream itself can tell."""
    path = tmp_path / "ct.mha"
    header, voxels = written(path, True).split(b"ElementDataFile = LOCAL\n")
    voxels = voxels[:more] if more < 0 else voxels + bytes(more)
    header = re.sub(rb"CompressedDataSize = \d+", b"CompressedDataSize = %d" % len(voxels), header)
    path.write_bytes(header + b"ElementDataFile = LOCAL\n" + voxels)
    refused(path, r"is cut short or damaged \(the compressed voxels do not end where they should\)")


def test_gzip_in_several_parts(tmp_path: Path) -> None:
    content = written(tmp_path / "ct.nii", False)
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(b"".join(gzip.compress(content[k : k + 200]) for k in range(0, len(content), 200)))
    assert same_grid(read_ct(path), noise())


def claims(suffix: str, content: bytes) -> bytes:
    """The file with a header of 100,000 voxels along each axis; 30,000 in NIfTI, which can hold no more."""
    if suffix.startswith(".nii"):
        header = bytearray(gzip.decompress(content) if suffix == ".nii.gz" else content)
        header[42:48] = np.full(3, 30000, "<i2").tobytes()
        return gzip.compress(header) if suffix == ".nii.gz" else bytes(header)
    return re.sub(rb"(DimSize =|sizes:) 7 6 5", rb"\1 100000 100000 100000", content)


@pytest.mark.parametrize(("suffix", "compressed"), FILES)
def test_a_header_that_claims_more_voxels_than_memory_holds(suffix: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(claims(suffix, written(path, compressed)))
    refused(path, r"expected a header of 1 to 4294967296 voxels, got (100000|30000) x \1 x \1; is it damaged")


def test_memory_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    written(tmp_path / "ct.nii", False)
    monkeypatch.setattr(np, "empty", exhausted)
    with pytest.raises(InputError, match=r"ct.nii: needs 4.2e-07 GB of free memory; free some, or crop the CT"):
        read_ct(tmp_path / "ct.nii")
