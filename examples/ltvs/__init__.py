"""The liver-tumour-vessel pipeline: everything the command lines in `examples/` share."""
