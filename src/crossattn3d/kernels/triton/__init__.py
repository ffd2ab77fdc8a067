"""The primitive in Triton, for NVIDIA GPUs."""
