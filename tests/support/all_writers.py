"""`python all_writers.py FOLDER UMASK...`: all that the package and the pipeline write, into FOLDER/UMASK for each.

A prepared set and maps, networks in training with logs, curves and checkpoints, label maps, pictures, scores, and nets
to share: as a bundle, as ONNX, in nnU-Net's format, for the Hugging Face Hub, and in half precision.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path


def write_all(folder: Path) -> None:
    """Write everything once."""
    made = tiny_set(folder / "data")
    train_both(made, tiny_settings(made.folder, folder / "run", epochs=1))
    draw_curves(folder / "run" / "stage1" / "curves.csv", folder / "run" / "stage1" / "curves.png")
    save_checkpoint({"step": 1}, folder / "run" / "checkpoints")
    score_test_cases(folder / "run", made, "cpu")
    write_summary({0: {"dice": 0.5}}, folder / "run")
    ct, labels = read_ct(made.ct("a")), read_labels(made.labels("a"))
    write_volume(labels, folder / "predictions" / "a.nii.gz")
    draw_report(ct, labels, folder / "predictions" / "a.png")
    make_bundle(folder / "run", folder / "bundle", "nobody", "none")
    ship_networks(folder / "run", folder / "shipped")
    export_nnunet(made, folder / "Dataset501_Liver")
    net = UNet3d(1, 2, (2, 3)).eval()
    save_pretrained(net, folder / "hub")
    with suppress(ImportError):
        export_onnx(net, folder / "onnx" / "net.onnx")
    with atomic_path(folder / "maps" / "0003") as maps:
        maps.mkdir()
        paint_maps(3, maps, 8.0, 5.0)
    with locked(folder):
        pass


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root / folder) for folder in ("src", "examples", "tests")]

    import torch

    from crossattn3d import UNet3d
    from crossattn3d.export import export_onnx
    from crossattn3d.hub import save_pretrained
    from ltvs.bundle.write import make_bundle
    from ltvs.dataset.nnunet import export_nnunet
    from ltvs.model.shipping import ship_networks
    from ltvs.phantom.maps import paint_maps
    from ltvs.report.figures import draw_report
    from ltvs.report.seed_summary import score_test_cases, write_summary
    from ltvs.runtime.files import atomic_path
    from ltvs.runtime.locks import locked
    from ltvs.training.checkpoints import save_checkpoint
    from ltvs.training.journal import draw_curves
    from ltvs.volume.images import read_ct, read_labels, write_volume
    from support.trained_runs import tiny_set, tiny_settings, train_both

    torch.set_num_threads(1)
    for mask in sys.argv[2:]:
        os.umask(int(mask, 8))
        write_all(Path(sys.argv[1]) / mask)
