"""A CT in space: label values, cases, grids, resampling, holes of bodies, and image files. May import `runtime`."""
