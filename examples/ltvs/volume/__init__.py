"""A CT in space: label values, cases, grids, resampling, and image files. May import `runtime`."""
