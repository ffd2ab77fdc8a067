"""The versions that pyproject.toml claims are those that were run, as the tables of docs/appendix/versions.md say."""

import re
import tomllib

from support.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECTION = (ROOT / "docs" / "appendix" / "versions.md").read_text()
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def numbers(version: str) -> tuple[int, ...]:
    """Return a version without zeros at its end, as 2.9 and 2.9.0 are the same."""
    return tuple(map(int, re.sub(r"(\.0)+$", "", version).split(".")))


def bounds(*groups: list[str]) -> dict[str, tuple[int, ...]]:
    found = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for group in groups for line in group]
    return {match[1]: numbers(match[2]) for match in found if match}


def test_lower_bounds_are_the_versions_that_were_run() -> None:
    optional = PROJECT["optional-dependencies"]
    claimed = bounds(PROJECT["dependencies"], optional["ltvs"], optional["hub"], optional["onnx"])
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|$", SECTION, re.MULTILINE)
    assert {name: numbers(lowest) for name, lowest, _ in rows} == claimed
    assert all(numbers(lowest) <= numbers(newest) for _, lowest, newest in rows)


def test_the_pythons_are_those_that_were_run() -> None:
    prefix = "Programming Language :: Python :: "
    claimed = {line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)}
    run = {f"3.{minor}" for minor in re.findall(r"^\| 3\.(\d+)\.\d+ \|", SECTION, re.MULTILINE)}
    assert claimed == run
    assert PROJECT["requires-python"] == f">={min(run)}"


def test_the_bounds_allow_what_all_tests_run_with() -> None:
    pinned = {name.lower().replace("_", "-"): version for name, version in CONSTRAINTS.items()}
    every = bounds(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    assert len(every) > 20
    for name, lowest in every.items():
        assert lowest <= numbers(pinned[name.lower().replace("_", "-")]), name
