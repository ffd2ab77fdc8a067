"""Readers of one file format each, which verify every byte of the voxels. May import `volume.grids` and `runtime`."""
