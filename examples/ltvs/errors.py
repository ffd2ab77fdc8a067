"""The one exception that a command line turns into a one-line message."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, why and the remedy in one line."""
