"""Convolutions of the nets: layers of PyTorch's that compute in a faster way on some CPUs."""
