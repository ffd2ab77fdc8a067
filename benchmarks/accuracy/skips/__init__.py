"""The skip connections of the study that the package does not have, one concept a file."""
