"""Google's published weights in TransUnet: the right array in the right place, and files that are not theirs."""

import math
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray
from torch import Tensor

from ltvs.model.systems.parts.positions import resized
from ltvs.model.systems.transunet import TransUnet
from ltvs.model.systems.transunet_weights import POSITIONS, load_published, published_names
from ltvs.runtime.errors import InputError
from support.published_weights import FIRST_SHAPE, STAGES, archive, published_shapes, saved_array
from support.random_parameters import generator, normal

FIRST = "conv_root/kernel"
#: The last array that is read, so that all others are there when it is refused.
LAST = POSITIONS


def of_first(path: Path, array: ndarray) -> Path:
    """Write a file whose first array that is read is this one."""
    return archive(path, **{f"{FIRST}.npy": saved_array(array)})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    rng = np.random.default_rng(0)

    def made(name: str, shape: tuple[int, ...]) -> ndarray:
        # About what a sum of a thousand products with it keeps at its size.
        spread = 0.5 if max(shape) == math.prod(shape) else 0.03
        array = rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)
        return array + np.float32(1) if name.endswith("scale") else array

    path = tmp_path_factory.mktemp("published") / "R50+ViT-B_16.npz"
    np.savez(path, **{name: made(name, shape) for name, shape in published_shapes().items()})
    yield path
    # pytest keeps folders of earlier runs, and this has 0.4 GB.
    path.unlink()


@pytest.fixture(scope="module")
def net() -> TransUnet:
    """A net with random weights, which the tests leave as it is."""
    torch.manual_seed(0)
    return TransUnet(1, 3).eval()


@pytest.fixture(scope="module")
def loaded(published: Path) -> TransUnet:
    torch.manual_seed(1)
    net = TransUnet(1, 3).eval()
    load_published(net, published)
    return net


@pytest.fixture(scope="module")
def arrays(published: Path) -> Iterator[Any]:
    with np.load(published, allow_pickle=False) as file:
        yield file


def group_norm(x: Tensor, scale: ndarray, bias: ndarray, groups: int, eps: float) -> Tensor:
    parts = x.reshape(len(x), groups, -1)
    parts = (parts - parts.mean(2, True)) / (parts.var(2, correction=0, keepdim=True) + eps).sqrt()
    return parts.reshape(x.shape) * torch.from_numpy(scale).view(-1, 1, 1) + torch.from_numpy(bias).view(-1, 1, 1)


def convolved(x: Tensor, kernel: ndarray, stride: int = 1) -> Tensor:
    """Convolve with a standardized kernel (h, w, in, out), pixel by pixel of the kernel."""
    standard = kernel.astype(np.float64)
    standard = (standard - standard.mean((0, 1, 2))) / np.sqrt(standard.var((0, 1, 2)) + 1e-5)
    reach = kernel.shape[0] // 2
    padded = F.pad(x, (reach,) * 4)
    h, w = (-(-n // stride) for n in x.shape[2:])
    result = torch.zeros(len(x), kernel.shape[3], h, w, dtype=torch.float64)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            shifted = padded[:, :, i : i + stride * h : stride, j : j + stride * w : stride]
            result += torch.einsum("nchw,ck->nkhw", shifted, torch.from_numpy(standard[i, j]))
    return result


def bottleneck(arrays: Any, unit: str, x: Tensor, stride: int) -> Tensor:
    y = x
    for k in (1, 2, 3):
        y = convolved(y, arrays[f"{unit}/conv{k}/kernel"], stride if k == 2 else 1)
        y = group_norm(y, arrays[f"{unit}/gn{k}/scale"], arrays[f"{unit}/gn{k}/bias"], 32, 1e-6)
        y = y.relu() if k < 3 else y
    if f"{unit}/conv_proj/kernel" in arrays:
        x = convolved(x, arrays[f"{unit}/conv_proj/kernel"], stride)
        x = group_norm(x, arrays[f"{unit}/gn_proj/scale"], arrays[f"{unit}/gn_proj/bias"], x.shape[1], 1e-5)
    return (x + y).relu()


def layer_norm(x: ndarray, arrays: Any, name: str) -> ndarray:
    x = x - x.mean(-1, keepdims=True)
    scale, bias = arrays[f"{name}/scale"], arrays[f"{name}/bias"]
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * scale + bias


def transformer_block(arrays: Any, block: str, x: ndarray) -> ndarray:
    """Compute a block in NumPy, with arrays of heads as JAX has them."""
    attention = f"{block}/MultiHeadDotProductAttention_1"
    normalized = layer_norm(x, arrays, f"{block}/LayerNorm_0")
    q, k, v = (
        np.einsum("ntc,chd->nthd", normalized, arrays[f"{attention}/{part}/kernel"])
        + arrays[f"{attention}/{part}/bias"]
        for part in ("query", "key", "value")
    )
    weights = np.exp(np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(64))
    weights /= weights.sum(-1, keepdims=True)
    taken = np.einsum("nhts,nshd->nthd", weights, v)
    x = x + np.einsum("nthd,hdc->ntc", taken, arrays[f"{attention}/out/kernel"]) + arrays[f"{attention}/out/bias"]
    mlp = f"{block}/MlpBlock_3"
    hidden = layer_norm(x, arrays, f"{block}/LayerNorm_2") @ arrays[f"{mlp}/Dense_0/kernel"]
    hidden = F.gelu(torch.from_numpy(hidden + arrays[f"{mlp}/Dense_0/bias"])).numpy()
    return x + hidden @ arrays[f"{mlp}/Dense_1/kernel"] + arrays[f"{mlp}/Dense_1/bias"]


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """float32 against float64: sums of up to 4096 products, a few after each other, round to less than 1e-4."""
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-4)


def test_every_weight_of_the_encoder_has_its_array(net: TransUnet) -> None:
    names, shapes = published_names(net), published_shapes()
    unused = {name for name in shapes if name.startswith(("cls", "pre_logits", "head"))}
    assert names.keys() == shapes.keys() - unused - {POSITIONS}
    assert all(tuple(view.shape) in (shapes[name], shapes[name][3:]) for name, view in names.items())
    encoder = (net.stem, net.embedding, net.transformer)
    assert sum(view.numel() for view in names.values()) == sum(p.numel() for part in encoder for p in part.parameters())


def test_the_root_computes_with_the_files_arrays(loaded: TransUnet, arrays: Any) -> None:
    x = normal((2, 3, 12, 16), generator(1))
    y = convolved(x, arrays["conv_root/kernel"], 2)
    expected = group_norm(y, arrays["gn_root/scale"], arrays["gn_root/bias"], 32, 1e-6).relu()
    with torch.inference_mode():
        assert_near(loaded.stem.root(x.float()), expected)


@pytest.mark.parametrize(("stage", "unit", "stride"), [(1, 1, 1), (1, 3, 1), (2, 1, 2), (3, 9, 1)])
def test_a_bottleneck_computes_with_the_files_arrays(
    loaded: TransUnet, arrays: Any, stage: int, unit: int, stride: int
) -> None:
    _, below, _, above = STAGES[stage - 1]
    x = normal((1, below if unit == 1 else above, 4, 6), generator(2)).relu()
    with torch.inference_mode():
        actual = loaded.stem.stages[stage - 1][unit - 1](x.float())
    assert_near(actual, bottleneck(arrays, f"block{stage}/unit{unit}", x, stride))


@pytest.mark.parametrize("number", [0, 11])
def test_a_block_computes_with_the_files_arrays(loaded: TransUnet, arrays: Any, number: int) -> None:
    x = normal((2, 5, 768), generator(3))
    expected = transformer_block(arrays, f"Transformer/encoderblock_{number}", x.numpy())
    with torch.inference_mode():
        assert_near(loaded.transformer[number](x.float()), torch.from_numpy(expected))


def test_tokens_are_embedded_with_the_files_arrays(loaded: TransUnet, arrays: Any) -> None:
    x = normal((1, 1024, 2, 3), generator(4))
    kernel, bias = (torch.from_numpy(arrays[f"embedding/{what}"]).double() for what in ("kernel", "bias"))
    with torch.inference_mode():
        assert_near(
            loaded.embedding(x.float()), torch.einsum("nchw,ck->nkhw", x, kernel[0, 0]) + bias[None, :, None, None]
        )
        tokens = normal((1, 3, 768), generator(5))
        expected = torch.from_numpy(layer_norm(tokens.numpy(), arrays, "Transformer/encoder_norm"))
        assert_near(loaded.transformer[-1](tokens.float()), expected)


def test_positions_are_resized_without_that_of_the_class_token(loaded: TransUnet, arrays: Any) -> None:
    positions = arrays[POSITIONS][0]
    learned = loaded.positions.map.detach()
    assert learned.shape == (1, 768, 20, 20)
    for (row, column), token in {(0, 0): 1, (0, 19): 14, (19, 0): 1 + 13 * 14, (19, 19): 196}.items():
        np.testing.assert_array_equal(learned[0, :, row, column], positions[token])
    grid = torch.from_numpy(positions[1:].reshape(14, 14, 768)).permute(2, 0, 1)[None]
    torch.testing.assert_close(learned, resized(grid, (20, 20)), rtol=0, atol=0)


def test_the_decoder_keeps_its_weights(loaded: TransUnet) -> None:
    torch.manual_seed(1)
    before = TransUnet(1, 3).state_dict()
    decoder = [name for name in before if name.startswith(("bottom", "ups", "head"))]
    assert decoder
    assert all(torch.equal(loaded.state_dict()[name], before[name]) for name in decoder)


def test_the_net_stays_as_it_is_if_the_last_array_is_refused(net: TransUnet, published: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.npz"
    shutil.copyfile(published, path)
    with (
        zipfile.ZipFile(path, "a") as file,
        pytest.warns(UserWarning, match="Duplicate name"),
        file.open(f"{LAST}.npy", "w") as entry,
    ):
        # The later entry of a name is the one that counts.
        entry.write(saved_array(np.full((1, 197, 768), np.nan, dtype=np.float32)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError, match=r"pos_embedding is .* \(1, 197, 768\); got values that are not finite"):
        load_published(net, path)
    path.unlink()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def finite(dtype: str, shape: tuple[int, ...] = FIRST_SHAPE) -> ndarray:
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (finite("f4", (7, 7, 1, 64)), r"float32 of shape \(7, 7, 1, 64\)"),
        (finite("f4", (64, 3, 7, 7)), r"float32 of shape \(64, 3, 7, 7\)"),
        (finite("f4", ()), r"float32 of shape \(\)"),
        (finite("f2"), "float16 of shape"),
        (finite("f8"), "float64 of shape"),
        (finite("c8"), "complex64 of shape"),
        (finite("i4"), "int32 of shape"),
        (finite(">f4"), ">f4 of shape"),
        (finite("f4") * np.float32(np.inf), "values that are not finite"),
        (finite("f4") * np.float32(np.nan), "values that are not finite"),
    ],
)
def test_another_array_is_refused(net: TransUnet, tmp_path: Path, array: ndarray, got: str) -> None:
    path = of_first(tmp_path / "w.npz", array)
    expected = r"w\.npz: expected R50\+ViT-B_16\.npz .* conv_root/kernel is float32 of shape \(7, 7, 3, 64\); got "
    with pytest.raises(InputError, match=f"{expected}{got}.*; download it again"):
        load_published(net, path)


def test_an_array_that_lacks_is_told(net: TransUnet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"whose conv_root/kernel is float32 .*; got none; download it again"):
        load_published(net, archive(tmp_path / "w.npz", other=b""))
    with pytest.raises(InputError, match=r"whose gn_root/scale is float32 of shape \(64,\); got none"):
        load_published(net, of_first(tmp_path / "w.npz", finite("f4")))


def test_pickled_arrays_are_not_unpickled(net: TransUnet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Object arrays cannot be loaded .*\); download it again"):
        load_published(net, of_first(tmp_path / "w.npz", np.array([print], dtype=object)))


def test_an_entry_that_unpacks_to_too_much_is_not_unpacked(net: TransUnet, tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(f"{FIRST}.npy", "w") as entry:
        for _ in range(65):
            entry.write(bytes(1 << 20))
    with pytest.raises(InputError, match=f"got {65 << 20} bytes; download it again"):
        load_published(net, path)


def test_what_is_no_archive_is_refused(net: TransUnet, tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    with pytest.raises(InputError, match=r"w\.npz: .*cannot be read \(.*No such file.*\); download it again"):
        load_published(net, path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be read \(File is not a zip file\)"):
        load_published(net, path)
    path.write_bytes(saved_array(finite("f4")))
    with pytest.raises(InputError, match=r"cannot be read \(File is not a zip file\)"):
        load_published(net, path)
    whole = of_first(path, finite("f4")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cannot be read \(File is not a zip file\)"):
        load_published(net, path)
    archive(path, **{f"{FIRST}.npy": b"no array"})
    with pytest.raises(InputError, match=r"cannot be read \(the magic string is not correct.*\); download it again"):
        load_published(net, path)
    archive(path, **{f"{FIRST}.npy": saved_array(finite("f4"))[:-1]})
    with pytest.raises(InputError, match=r"cannot be read \(EOF: reading array data.*\); download it again"):
        load_published(net, path)
    with pytest.raises(InputError, match=r"cannot be read \(.*[Dd]irectory.*\); download it again"):
        load_published(net, tmp_path)


@given(st.data())
def test_no_damage_ends_in_another_error(
    net: TransUnet, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "w.npz"
    content = bytearray(of_first(path, finite("f4")).read_bytes())
    # Everything but the values: the headers of the zip and of the array, and the directory at the end.
    ends = (*range(250), *range(len(content) - 100, len(content)))
    for place in data.draw(st.lists(st.sampled_from(ends), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with pytest.raises(InputError, match="; download it again"):
        load_published(net, path)


def test_other_input_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"TransUnet: expected 1 or 3 input channels .*; got 2; train from random weights"
    ):
        load_published(TransUnet(2, 3), tmp_path / "w.npz")
