"""Training of one stage: settings, patches, loader, step, loop, checkpoints, validation.

Imports `dataset` and what that imports.
"""
