"""A run as a MONAI bundle. Imports everything but `report`."""
