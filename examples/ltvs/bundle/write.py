"""A trained run as a MONAI bundle: one folder with both networks, their configuration and the code that labels a CT.

BUNDLE/configs/{metadata.json, inference.json}  models/{model.pt, liver.pt}  ltvs/*.py  docs/README.md
"""

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

import crossattn3d
from crossattn3d import UNet3d
from crossattn3d.hub import config_of
from ltvs.model.saved import load_stage, load_unfolded
from ltvs.model.stages import CLASSES, STAGES, Stage
from ltvs.runtime.errors import InputError
from ltvs.runtime.files import atomic_path, write_json

#: Where MONAI keeps what metadata has to look like; its verify_metadata fetches it.
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

#: By stage: name of the network in the configuration, and of its weights. MONAI's tools look for the first two.
NAMES: dict[Stage, tuple[str, str]] = {2: ("network_def", "model.pt"), 1: ("liver_network_def", "liver.pt")}

#: What the bundle's code imports besides PyTorch, MONAI and NumPy.
NEEDS = ("crossattn3d", "einops", "jaxtyping", "SimpleITK", "pydicom", "nibabel", "scipy", "safetensors")

#: The folder of the package `ltvs`, from which a bundle gets what it runs.
LTVS = Path(__file__).parents[1]

README = """\
# Liver, vessels and tumors in a CT

Two networks of crossattn3d: one finds the liver, the other the vessels and tumors in it. `models/model.pt` is the
second, `models/liver.pt` the first. What they were trained on, and what they score, is not stated here.

```sh
pip install "crossattn3d[ltvs]" fire
python -m monai.bundle run --config_file configs/inference.json --input ct.nii.gz --output labels.nii.gz
```

From within this folder. The input is a NIfTI, NRRD or MHA file in HU, or a folder with one DICOM series; the labels
(1 liver, 2 vessel, 3 tumor) lie in the CT's own grid. `--bundle_root DIR` runs it from elsewhere, `--device cpu` where
no GPU is wanted.

Not a medical device.
"""


def make_bundle(run: Path, output: Path, authors: str, copyright_notice: str) -> None:
    """Write the bundle of a run.

    Args:
        run: folder with both stages trained.
        output: folder to make.
        authors: for the metadata.
        copyright_notice: for the metadata.

    Raises:
        InputError: the run lacks a stage, or there is something at `output`.
    """
    if output.exists():
        raise InputError(f"{output}: is there already; give another --output or remove it")
    nets = {stage: load_unfolded(run, stage)[0] for stage in STAGES}
    with atomic_path(output) as bundle:
        for path in ("models", "docs", "ltvs"):
            (bundle / path).mkdir(parents=True)
        for stage, (_, file) in NAMES.items():
            torch.save({k: v.contiguous() for k, v in nets[stage].state_dict().items()}, bundle / "models" / file)
        write_json(bundle / "configs" / "inference.json", _inference(run, nets))
        write_json(bundle / "configs" / "metadata.json", _metadata(run, nets[2], authors, copyright_notice))
        (bundle / "docs" / "README.md").write_text(README, encoding="utf-8")
        for source in sorted(_needed("bundle.entry_points", set())):
            copy = bundle / "ltvs" / source.relative_to(LTVS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())


def _inference(run: Path, nets: dict[Stage, UNet3d]) -> dict[str, Any]:
    """What `monai.bundle run` reads."""
    networks, stages = {}, {}
    for stage, (name, file) in NAMES.items():
        trained, config = load_stage(run, stage), config_of(nets[stage])
        networks[name] = {"_target_": f"crossattn3d.{config['class']}", **config["arguments"]}
        stages[f"stage{stage}"] = {
            "_target_": "ltvs.bundle.entry_points.trained_stage",
            "net": f"@{name}",
            "weights": f"$@bundle_root + '/models/{file}'",
            "preparation": trained.preparation.json(),
            "patch": trained.patch,
            "overlap": trained.overlap,
            "precision": trained.precision,
        }
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "input": "ct.nii.gz",
        "output": "labels.nii.gz",
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        **networks,
        **stages,
        "run": [
            {
                "_target_": "ltvs.bundle.entry_points.label_file",
                "ct": "@input",
                "labels": "@output",
                "stage1": "@stage1",
                "stage2": "@stage2",
                "device": "@device",
            }
        ],
    }


def _metadata(run: Path, net: UNet3d, authors: str, copyright_notice: str) -> dict[str, Any]:
    """What MONAI wants to know of a bundle; `network_data_format` is that of stage 2's network."""
    _, rows, columns = load_stage(run, 2).patch
    slices = f"{int(np.prod([stride[0] for stride in net.strides]))} * n"
    tensor = {
        "type": "image",
        "modality": "CT",
        "spatial_shape": [slices, rows, columns],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
    }
    contrast = "HU less the median of the liver, in units of 50 HU; 0 outside the liver"
    classes = {str(i): name for i, name in enumerate(CLASSES[2])}
    image = {**tensor, "format": "hounsfield", "num_channels": 1, "channel_def": {"0": contrast}}
    pred = {**tensor, "format": "labels", "num_channels": len(classes), "channel_def": classes}
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "made from a trained run"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {name: _version(name) for name in NEEDS},
        "name": "Liver, vessels and tumors in CT",
        "task": "Segmentation of the liver, its vessels and its tumors in CT",
        "description": "A 3D U-Net finds the liver, and a second network with cross-attention for skip connections the "
        "vessels and tumors in it. network_data_format describes the second one's patches.",
        "authors": authors,
        "copyright": copyright_notice,
        "intended_use": "Research. Not a medical device.",
        "references": ["Kuang et al. Toward Simultaneous Segmentation of Liver Tumors and Intrahepatic Vessels via "
                       "Cross-Attention Mechanism. ICASSP 2023."],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }  # fmt: skip


def _version(name: str) -> str:
    return crossattn3d.__version__ if name == "crossattn3d" else importlib.metadata.version(name)


def _needed(name: str, found: set[Path]) -> set[Path]:
    """Return the files of `ltvs` that its module `name` imports, and what those import, with every __init__.py."""
    *packages, module = name.split(".")
    folders = [LTVS.joinpath(*packages[:depth]) for depth in range(len(packages) + 1)]
    path = folders[-1] / f"{module}.py"
    if not path.is_file():
        path = folders[-1] / module / "__init__.py"
    for file in (path, *(folder / "__init__.py" for folder in folders)):
        if file not in found:
            found.add(file)
            for needed in _imports(file):
                _needed(needed, found)
    return found


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ltvs."):
            yield str(node.module).removeprefix("ltvs.")
