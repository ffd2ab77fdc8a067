"""The one exception that a command line turns into a one-line message, and the one line of a message of ITK."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, why and the remedy in one line."""


def itk_reason(error: RuntimeError) -> str:
    """The last line of an ITK message, which holds the reason, without its file and line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ") if lines else "no reason given"
