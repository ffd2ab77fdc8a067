"""The commands that README, CONTRIBUTING and the docs show, in blocks of shell and in running text."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from support.pages import ALL_PAGES, inline_code, text_of

#: What a command in running text, or in a block without a language, begins with; a script of ours may stand alone.
_PROGRAM = re.compile(
    r"(\w+=\S+ )*(python3?|torchrun|srun|sbatch|pip|make(?= [a-z-]+( |$))|git|cp|bash|docker|tensorboard|pytest|ruff|"
    r"mypy|mkdocs|hf|nnUNetv2_\w+|\w+\.py) (?!=)"
)
#: Lines that prepare those after them, if these use the variable or the other version of the repository; `cd` does all.
_PREPARES = re.compile(r"""(?:export )?(\w+)=(?:"[^"]*"|'[^']*'|\S*)|cd \S+|git worktree add (\S+).*""")
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
#: Languages whose lines are all commands, and those that hold none.
_SHELL, _OTHER = ("sh", "bash", "shell", "console"), ("python", "diff", "bibtex", "json", "yaml", "toml")


@dataclass(frozen=True)
class Command:
    """A command of the documentation.

    Args:
        line: what is typed, in one line, without its comment.
        before: the lines of its block that prepare it.
        is_short: whether running text names a benchmark, another module alone, or a script and some of its options.
    """

    line: str
    before: tuple[str, ...] = ()
    is_short: bool = False

    def __str__(self) -> str:
        return "; ".join([*self.before, self.line])

    def is_in(self, other: "Command") -> bool:
        """Whether it is short for another one, which has all of its options with their values."""
        program, words = _split(self.line)
        longer, others = _split(other.line)
        options = re.split(" (?=--)", words) if words else []
        has_all = all(f" {option} " in f" {others} " for option in options)
        return self.is_short and self != other and program == longer and has_all


def commands_in(text: str, inline: Iterable[str]) -> Iterator[Command]:
    """Yield the commands of a page.

    Args:
        text: the page.
        inline: what stands in backticks on it.
    """
    for _, language, block in _BLOCK.findall(text):
        lines = [_line(line) for line in textwrap.dedent(block).replace("\\\n", " ").splitlines()]
        if language in _SHELL:
            yield from _of_shell([line for line in lines if line])
        elif language not in _OTHER:
            yield from (Command(line) for line in lines if _PROGRAM.match(line))
    for piece in map(_line, inline):
        if _PROGRAM.match(piece):
            script = re.match(r"\w+\.py ", piece)
            module = re.fullmatch(r"python -m ([\w.]+|benchmarks\b.*)", piece)
            yield Command(f"python examples/{piece}" if script else piece, is_short=bool(script or module))


@cache
def documented() -> list[Command]:
    """Return the commands of all pages, each once."""
    found = [command for page in ALL_PAGES for command in commands_in(text_of(page), inline_code(page))]
    # Of equal ones the one that is not short.
    by_text = {str(command): command for command in sorted(found, key=lambda command: not command.is_short)}
    return [by_text[text] for text in sorted(by_text)]


def values_of(option: str, holding: str = "") -> set[str]:
    """Return all first values that an option is given in lines that hold a text."""
    found = (re.findall(rf"{option} (\S+)", command.line) for command in documented() if holding in command.line)
    return {value for values in found for value in values if re.fullmatch(r"[\w./-]+", value)}


def _split(line: str) -> tuple[str, str]:
    """Return a line up to its script or module, and the words after it."""
    found = re.match(r"(?:python|torchrun) (?:\S+\.py|-m \S+)", line)
    return (line[: found.end()], line[found.end() :].strip()) if found else (line, "")


def _line(line: str) -> str:
    """Return a line without its comment and with single spaces."""
    return " ".join(re.sub(r"(^|\s)#.*", "", line).split())


def _of_shell(lines: list[str]) -> Iterator[Command]:
    """Yield the commands of a block of shell; a line that prepares no other one is a command itself."""
    prepared: set[str] = set()
    for number, line in enumerate(lines):
        if _PREPARES.fullmatch(line):
            continue
        before = tuple(one for one in lines[:number] if _prepares(one, line))
        prepared |= set(before)
        yield Command(line, before)
    yield from (Command(line) for line in lines if _PREPARES.fullmatch(line) and line not in prepared)


def _prepares(line: str, later: str) -> bool:
    if (found := _PREPARES.fullmatch(line)) is None:
        return False
    variable, folder = found.groups()
    return (variable is None or f"${variable}" in later) and (folder is None or f"{folder}/" in later)
