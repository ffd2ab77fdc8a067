"""Command line, errors, files, locks, interrupts and worker processes; nothing here knows of a CT.

May import nothing of `ltvs`.
"""
