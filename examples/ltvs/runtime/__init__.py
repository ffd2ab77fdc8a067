"""Command line, errors, files, locks, interrupts, workers: nothing in it knows of a CT. Imports nothing of `ltvs`."""
