"""The options of every command of ours, and whether the documentation gives them values that they take."""

import argparse
import contextlib
import dataclasses
import importlib
import inspect
import io
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints
from unittest import mock

import tyro

from benchmarks.reports import at_least_one
from ltvs.bundle.entry_points import label_file
from ltvs.runtime.errors import InputError
from support.pages import ROOT

#: Options of other programs that a page, a docstring or a message names.
FOREIGN = {
    *("--help", "--index-url", "--constraint"),  # pip
    *("--abbrev", "--always", "--dirty", "--exclude"),  # git
    *("--shm-size", "--ntasks-per-node", "--requeue"),  # Docker, SLURM
}


@dataclass(frozen=True)
class Command:
    """A command of ours.

    Args:
        options: their names, each with the values that it takes; None if these cannot be listed.
        required: options that have to be given.
        parse: raises SystemExit where words are not understood.
    """

    options: Mapping[str, tuple[str, ...] | None]
    required: tuple[str, ...]
    parse: Callable[[Sequence[str]], object]

    def understands(self, words: Sequence[str]) -> bool:
        """Return whether it takes these words, beside those that it requires."""
        missing = [option for option in self.required if option not in words]
        filled = [word for option in missing for word in (option, (self.options[option] or ("x",))[0])]
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                self.parse([*words, *filled])
            except SystemExit as ended:
                # Words that are understood may still not go together, or not on this machine.
                return isinstance(ended.__context__, InputError)
        return True


@cache
def commands() -> dict[str, Command]:
    """Return the commands by the name of their script, or of their module."""
    found: dict[str, Command] = {"monai.bundle": _of_bundle()}
    for script in sorted((ROOT / "examples").glob("*.py")):
        if re.search(r"^    run\(main, (\w+)\)$", text := script.read_text(encoding="utf-8"), re.MULTILINE):
            settings = vars(importlib.import_module(script.stem))[re.findall(r"run\(main, (\w+)\)", text)[0]]
            found[script.name] = _of_settings(settings)
    for file in sorted([*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "src").rglob("*.py")]):
        triton = file.stem.startswith("gpu_") and find_spec("triton") is None
        if re.search(r"^def main\(", file.read_text(encoding="utf-8"), re.MULTILINE) and not triton:
            parts = file.relative_to(ROOT).with_suffix("").parts
            module = ".".join(part for part in parts if part not in ("src", "__main__"))
            found[module] = _of_module(importlib.import_module(".".join(part for part in parts if part != "src")))
    return found


def _of_settings(settings: Any) -> Command:
    """Return the command that tyro makes of a dataclass."""
    options: dict[str, tuple[str, ...] | None] = {}
    required = []
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        name, hint = field.name.replace("_", "-"), hints[field.name]
        if hint is bool:
            options |= {f"--{name}": None, f"--no-{name}": None}
            continue
        literal = get_args(hint)[0] if get_origin(hint) is tuple else hint
        options[f"--{name}"] = tuple(map(str, get_args(literal))) if get_origin(literal) is Literal else None
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(f"--{name}")
    return Command(options, tuple(required), lambda words: tyro.cli(settings, args=list(words)))


def _of_module(module: Any) -> Command:
    """Return the command whose parser `main` of a module makes."""
    parser = _parser_of(module)
    options: dict[str, tuple[str, ...] | None] = {}
    for action in parser._actions:
        choices = None if action.choices is None else tuple(map(str, action.choices))
        options |= dict.fromkeys(action.option_strings, choices)
        if action.type not in (int, float, at_least_one):
            action.type = None  # whether a file is there plays no part here
    required = tuple(
        action.option_strings[-1] for action in parser._actions if action.required and action.option_strings
    )
    return Command(options, required, parser.parse_args)


def _of_bundle() -> Command:
    """Return MONAI's command that runs a bundle: it takes any setting of the configuration, each with a value."""
    own = ("config_file", "meta_file", "net_id", "filepath", "bundle_root", "input", "output")
    names = [f"--{name}" for name in (*own, *inspect.signature(label_file).parameters)]
    return Command(dict.fromkeys(names), (), lambda words: words)


class _FoundError(Exception):
    pass


def _parser_of(module: Any) -> argparse.ArgumentParser:
    """Return the parser that `main` of a module makes."""
    seen: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        seen.append(parser)
        raise _FoundError

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), contextlib.suppress(_FoundError):
        module.main()
    return seen[0]


def fault_of_words(text: str) -> str | None:
    """Return what is wrong with the options in a piece of code, with or without the command that has them."""
    named = re.search(r"(\w+\.py)\b|-m ([\w.]+)", text)
    name = (named[1] or named[2]) if named else None
    if not re.search(r"(^|\s)--[a-z]", text) or (named and name not in commands()):
        return None  # a command of others, or none that takes options
    if named is None and not text.startswith("--"):
        return None
    words = shlex.split(text[named.end() :] if named else text, comments=True)
    options = [word for word in words if re.match(r"--[a-z]", word)]
    having = {
        key: command
        for key, command in commands().items()
        if (name is None or key == name) and set(command.options) >= set(options)
    }
    if not having:
        return None if name is None and set(options) <= FOREIGN else f"no such option: {' '.join(options)}"
    if len(options) == len(words) or any(command.understands(words) for command in having.values()):
        return None
    return f"not understood: {' '.join(words)}"


def fault_of_text(text: str) -> str | None:
    """Return what is wrong with the options that a message or a comment names; after a name prose may follow."""
    for option, word in re.findall(r"(?<![\w-])(--[a-z][a-z0-9_-]*)(?:[ =]([\w-]+))?", re.sub(r"\s+", " ", text)):
        having = [command for command in commands().values() if option in command.options]
        # Part of a name that is put together, as --no- is.
        if not having and option not in FOREIGN and not option.endswith("-"):
            return f"no such option: {option}"
        choices = [command.options[option] for command in having]
        listed = set().union(*(found or () for found in choices))
        if word and having and None not in choices and word not in (*listed, "or", "and") and not word.isupper():
            return f"{option}: expected {', '.join(sorted(listed))}; got {word}"
    return None
