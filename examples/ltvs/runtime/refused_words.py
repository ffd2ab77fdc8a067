"""Turn the box in which tyro reports words that it does not understand into one line."""

import re

#: Sections of a box that repeat what --help says.
_LEFT_OUT = ("For full helptext", "Argument helptext")
_COLOR = re.compile(r"\x1b\[[\d;]*m")
#: Spaces before the description of an option that a box lists.
_DESCRIPTION = " " * 8


def line_of_box(box: str, command: str) -> str:
    """Return what a box of tyro says as one line, with the command that says more.

    Args:
        box: as printed, in line-drawing characters or in ASCII.
        command: name of the command.

    Example:
        >>> line_of_box("╭─ Unrecognized options ─╮\\n│ Unrecognized options: --stage │\\n╰────╯", "predict_ltvs.py")
        'unrecognized options: --stage; see predict_ltvs.py --help'
    """
    sections = [""]
    for row in _COLOR.sub("", box).splitlines()[1:]:
        inside = row[2:].rstrip("│ ")
        if not row.strip("╰╯│─- "):
            sections.append("")
        elif not inside.startswith(_DESCRIPTION):
            sections[-1] += f" {inside.strip()}"
    said = [" ".join(section.split()).rstrip(".") for section in sections]
    said = [_in_a_line(section) for section in said if section and not section.startswith(_LEFT_OUT)]
    return "; ".join([*said, f"see {command} --help"])


def _in_a_line(section: str) -> str:
    """Return a section as it reads within a line."""
    section = re.sub(r"^Missing from .*?: (?=-)", "expected ", section).removeprefix("Error parsing ")
    return section[0].lower() + section[1:]
