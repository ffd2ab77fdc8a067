"""A phantom with landmarks at known places, written to files as scanners and converters do.

The places are known in mm, by an affine that the code under test never sees; nibabel and pydicom write the files and
read the label maps back.
"""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from ltvs.volume.labels import LIVER, TUMOR, VESSEL
from support.ircadb_layout import write_series

#: Position and radius of each structure, in halves of the phantom's smallest extent.
BALLS = {LIVER: ((0, 0, 0), 0.8), VESSEL: ((-0.12, 0.34, -0.28), 0.25), TUMOR: ((0.42, -0.22, 0.08), 0.25)}

#: NIfTI counts to the right and to the front, DICOM to the left and to the back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Phantom:
    """Balls in a box of voxels.

    Args:
        size: voxels along x, y, z.
        direction: columns are the directions of the axes, LPS.
        spacing: mm.
        origin: center of the first voxel, mm.
    """

    def __init__(self, size: tuple[int, ...], direction: np.ndarray, spacing: tuple[float, ...], origin=(0, 0, 0)):
        self.size, self.spacing, self.direction = size, np.array(spacing), np.array(direction)
        self.affine = np.eye(4)
        self.affine[:3, :3], self.affine[:3, 3] = self.direction * spacing, origin
        self.middle = (self.affine @ [*(np.array(size) - 1) / 2, 1])[:3]
        self.half = min(n * mm for n, mm in zip(size, spacing, strict=True) if n > 1) / 2
        index = np.stack(np.meshgrid(*(np.arange(n) for n in size), [1], indexing="ij"), -1)[..., 0, :]
        points = (index @ self.affine.T)[..., :3]
        #: (x, y, z), as nibabel has it.
        self.labels = np.zeros(size, dtype=np.uint8)
        for label, (_, radius) in BALLS.items():
            near = np.linalg.norm(points - self.place(label), axis=-1) <= radius * self.half
            self.labels[near] = label

    def place(self, label: int) -> np.ndarray:
        """Return the landmark, the center of a structure, in mm; in the plane of the slice if there is only one."""
        along = self.direction.T @ np.array(BALLS[label][0]) * (np.array(self.size) > 1)
        return self.middle + self.direction @ along * self.half

    def image(self, values: np.ndarray) -> sitk.Image:
        """Return values (x, y, z) as an image on the grid of the phantom."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
        image.SetSpacing(self.spacing.tolist())
        image.SetOrigin(self.affine[:3, 3].tolist())
        image.SetDirection(self.direction.ravel().tolist())
        return image

    def write(self, values: np.ndarray, path: Path) -> Path:
        """Write values (x, y, z) in the format of the suffix; without one, as a folder of DICOM slices."""
        if path.name.endswith((".nii", ".nii.gz")):
            nibabel.Nifti1Image(values, LPS @ self.affine).to_filename(path)
        elif path.suffix:
            sitk.WriteImage(self.image(values), str(path))
        else:
            write_series(path, self.image(values))
        return path

    def errors(self, path: Path) -> dict[int, float]:
        """Return the distance of each landmark in a label map from its place: the largest along any axis, in voxels.

        The label map has to lie on the grid of the phantom.
        """
        read = nibabel.load(path)
        assert read.shape == self.size
        corners = np.array([[*np.multiply(bits, np.subtract(self.size, 1)), 1] for bits in np.ndindex(2, 2, 2)])
        apart = np.abs(corners @ (LPS @ read.affine - self.affine).T).max()
        assert apart < 1e-2 * self.spacing.min()
        values = np.asanyarray(read.dataobj)
        errors = {}
        for label in BALLS:
            mask = values >= label if label == LIVER else values == label
            index = np.argwhere(mask).mean(axis=0)
            expected = np.linalg.solve(self.affine, [*self.place(label), 1])[:3]
            errors[label] = float(np.abs(index - expected).max())
        return errors
