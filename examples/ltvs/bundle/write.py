"""Writing of a MONAI bundle: a folder with both networks of a run, their configuration and the code that labels a CT.

BUNDLE/configs/{metadata.json,inference.json}  models/{model.pt,liver.pt}  ltvs/  docs/README.md
"""

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import crossattn3d
from crossattn3d import UNet3d
from crossattn3d.hub import config_of
from ltvs.model.networks import OPTIONS, read_settings
from ltvs.model.pipeline import SMALLEST_LIVER
from ltvs.model.saved import load_stage, load_unfolded
from ltvs.model.stages import CLASSES, STAGES, Stage
from ltvs.model.systems.registry import TABLE_1, Network, make_system
from ltvs.runtime.files import write_json
from ltvs.runtime.outputs import check_new_folder, check_not_around, check_outside, replaced_folder

#: MONAI's schema of the metadata, which its verify_metadata downloads.
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

#: By stage: name of the network in the configuration, and file of its weights. MONAI's tools look for the first two.
NAMES: dict[Stage, tuple[str, str]] = {2: ("network_def", "model.pt"), 1: ("liver_network_def", "liver.pt")}

#: Packages that the bundle's code imports besides PyTorch, MONAI and NumPy.
NEEDS = ("crossattn3d", "einops", "jaxtyping", "SimpleITK", "nibabel", "pydicom", "scipy", "safetensors")

#: The part of `ltvs` that labels a CT. The folders import only each other.
LTVS = Path(__file__).parents[1]
FOLDERS = ("model", "volume", "runtime")
FILES = ("__init__.py", "bundle/__init__.py", "bundle/entry_points.py")

README = """\
# Liver, vessels and tumors in a CT

Two networks: `models/liver.pt` finds the liver, `models/model.pt` the vessels and tumors in it. Their training data and
their scores are not stated here.

```sh
pip install ".[ltvs]" fire   # in a clone of crossattn3d
python -m monai.bundle run --config_file configs/inference.json --input ct.nii.gz --output labels.nii.gz
```

Run this in the bundle's folder, or elsewhere with `--bundle_root DIR`.

- The input is a NIfTI, NRRD or MHA file in HU, or a folder with one DICOM series.
- The labels (1 liver, 2 vessel, 3 tumor) are on the CT's own grid.
- `--device cpu` runs it without a GPU.
- `--overwrite True` replaces existing labels.
- `--force True` labels a file that the checks do not take for a CT in HU.

Not a medical device.
"""


def make_bundle(run: Path, output: Path, authors: str, copyright_notice: str, *, overwrite: bool = False) -> None:
    """Write the bundle of a run.

    Args:
        run: folder with both stages trained.
        output: folder to create.
        authors: for the metadata.
        copyright_notice: for the metadata.
        overwrite: whether to replace a bundle that exists.

    Raises:
        InputError: the run lacks a stage, `output` is in the run or around it, or it exists and is not to be replaced
            or holds other files.
    """
    check_new_folder(output, overwrite=overwrite, what="a bundle", is_own=_is_written)
    loaded = {stage: load_unfolded(run, stage) for stage in STAGES}
    nets = {stage: net for stage, (net, _) in loaded.items()}
    names = {stage: read_settings(prediction["network"]).network for stage, (_, prediction) in loaded.items()}
    check_outside(output, {"--run": run})
    check_not_around(output, {"--run": run})
    with replaced_folder(output) as bundle:
        for path in ("models", "docs", "ltvs/bundle"):
            (bundle / path).mkdir(parents=True)
        for stage, (_, file) in NAMES.items():
            torch.save({k: v.contiguous() for k, v in nets[stage].state_dict().items()}, bundle / "models" / file)
        write_json(bundle / "configs" / "inference.json", _inference(run, nets, names))
        write_json(bundle / "configs" / "metadata.json", _metadata(run, nets[2], names, authors, copyright_notice))
        (bundle / "docs" / "README.md").write_text(README, encoding="utf-8")
        for name in FILES:
            shutil.copyfile(LTVS / name, bundle / "ltvs" / name)
        for name in FOLDERS:
            shutil.copytree(LTVS / name, bundle / "ltvs" / name, ignore=shutil.ignore_patterns("__pycache__"))


def _is_written(path: Path) -> bool:
    """Return whether a file, relative to the bundle, is one that `make_bundle` writes, or Python compiled from it."""
    configs = {Path("configs/inference.json"), Path("configs/metadata.json"), Path("docs/README.md")}
    weights = {Path("models") / file for _, file in NAMES.values()}
    code = path.parts[0] == "ltvs" and (path.suffix == ".py" or path.parent.name == "__pycache__")
    return code or path in configs | weights


def _inference(run: Path, nets: dict[Stage, nn.Module], names: dict[Stage, Network]) -> dict[str, Any]:
    """Return the configuration that `monai.bundle run` reads."""
    networks, stages = {}, {}
    for stage, (name, file) in NAMES.items():
        trained = load_stage(run, stage)
        networks[name] = _definition(names[stage], nets[stage])
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
        "smallest_liver": SMALLEST_LIVER,
        "force": False,
        "overwrite": False,
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
                "smallest_liver": "@smallest_liver",
                "force": "@force",
                "overwrite": "@overwrite",
            }
        ],
    }


def _definition(network: Network, net: nn.Module) -> dict[str, Any]:
    """Return what MONAI makes the network from."""
    if network in OPTIONS:
        config = config_of(cast("UNet3d", net))
        return {"_target_": f"crossattn3d.{config['class']}", **config["arguments"]}
    return {"_target_": f"{make_system.__module__}.{make_system.__qualname__}", "name": network, "in_channels": 1,
            "out_channels": net.out_channels}  # fmt: skip


def _metadata(
    run: Path, net: nn.Module, names: dict[Stage, Network], authors: str, copyright_notice: str
) -> dict[str, Any]:
    """Return the metadata that MONAI requires; `network_data_format` describes stage 2's network."""
    _, rows, columns = load_stage(run, 2).patch
    slices = f"{net.total_stride[0]} * n" if isinstance(net, UNet3d) else "*"
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
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {name: _version(name) for name in NEEDS},
        "name": "Liver, vessels and tumors in CT",
        "task": "Segmentation of the liver, its vessels and its tumors in CT",
        "description": f"A {TABLE_1[names[1]].title} finds the liver, and a {TABLE_1[names[2]].title} the vessels and "
        "tumors in it. network_data_format describes the second one's patches.",
        "authors": authors,
        "copyright": copyright_notice,
        "intended_use": "Research. Not a medical device.",
        "references": ["Kuang et al. Towards Simultaneous Segmentation of Liver Tumors and Intrahepatic Vessels via "
                       "Cross-Attention Mechanism. ICASSP 2023."],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }  # fmt: skip


def _version(name: str) -> str:
    return crossattn3d.__version__ if name == "crossattn3d" else importlib.metadata.version(name)
