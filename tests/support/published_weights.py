"""Names and shapes of `R50+ViT-B_16.npz`, written down apart from the loader, and files of arrays."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy import ndarray

#: Stages of the ResNet: units, width of input, of the middle, of the result.
STAGES = ((3, 64, 64, 256), (4, 256, 128, 512), (9, 512, 256, 1024))
#: Of the first array that is read.
FIRST_SHAPE = (7, 7, 3, 64)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of the published file, written down apart from the loader."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv_root/kernel": FIRST_SHAPE,
        "gn_root/scale": (1, 1, 1, 64),
        "gn_root/bias": (1, 1, 1, 64),
        "embedding/kernel": (1, 1, 1024, 768),
        "embedding/bias": (768,),
        "Transformer/posembed_input/pos_embedding": (1, 197, 768),
        "Transformer/encoder_norm/scale": (768,),
        "Transformer/encoder_norm/bias": (768,),
        # Not of use here.
        "cls": (1, 1, 768),
        "pre_logits/kernel": (768, 768),
        "pre_logits/bias": (768,),
        "head/kernel": (768, 10),
        "head/bias": (10,),
    }
    for i, (units, below, width, above) in enumerate(STAGES, start=1):
        for j in range(1, units + 1):
            unit = f"block{i}/unit{j}"
            sizes = [(1, below if j == 1 else above, width), (3, width, width), (1, width, above)]
            for k, (pixels, before, after) in enumerate(sizes, start=1):
                shapes[f"{unit}/conv{k}/kernel"] = (pixels, pixels, before, after)
                shapes |= {f"{unit}/gn{k}/{what}": (1, 1, 1, after) for what in ("scale", "bias")}
            if j == 1:
                shapes[f"{unit}/conv_proj/kernel"] = (1, 1, below, above)
                shapes |= {f"{unit}/gn_proj/{what}": (1, 1, 1, above) for what in ("scale", "bias")}
    for i in range(12):
        block = f"Transformer/encoderblock_{i}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{block}/{norm}/{what}": (768,) for what in ("scale", "bias")}
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes |= {f"{attention}/{part}/kernel": (768, 12, 64), f"{attention}/{part}/bias": (12, 64)}
        shapes |= {f"{attention}/out/kernel": (12, 64, 768), f"{attention}/out/bias": (768,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_0/kernel": (768, 3072), f"{block}/MlpBlock_3/Dense_0/bias": (3072,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_1/kernel": (3072, 768), f"{block}/MlpBlock_3/Dense_1/bias": (768,)}
    return shapes


def saved_array(array: ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path
