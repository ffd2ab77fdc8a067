"""What the systems of Table 1 are built of: any input size, slices as a batch, learned positions, encoders."""
