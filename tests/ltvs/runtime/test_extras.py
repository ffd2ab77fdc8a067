"""Libraries that are missing: which extra installs them is said in one line, by every command, before it begins."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import ltvs
from crossattn3d import _extras
from ltvs.runtime import extras
from ltvs.runtime.command_line import run
from ltvs.runtime.errors import InputError
from ltvs.runtime.extras import EXTRAS, how_to_install, missing_line, require_extra

ROOT = Path(ltvs.__file__).parents[2]
EXAMPLES, BENCHMARKS = ROOT / "examples", ROOT / "benchmarks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
#: Names that differ from that of the distribution.
IMPORTED_AS = {"scikit-image": "skimage", "lightning-fabric": "lightning_fabric"}

#: Runs a script or module as `python` does, without the modules named first.
WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = sys.argv[1].split(",")
for name in missing:
    assert name not in sys.modules
sys.meta_path.insert(0, Missing())
what, sys.argv = sys.argv[2], sys.argv[2:]
if what.endswith(".py"):
    sys.path[0] = what.rpartition("/")[0]
    runpy.run_path(what, run_name="__main__")
else:
    runpy.run_module(what, run_name="__main__", alter_sys=True)
"""

SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text())
MODULES = sorted(
    f"benchmarks.{'.'.join(path.relative_to(BENCHMARKS).with_suffix('').parts)}".removesuffix(".__main__")
    for path in BENCHMARKS.rglob("*.py")
    if path.name == "__main__.py" or "__main__" in path.read_text()
)
#: What these do needs no more than a plain installation.
PLAIN = {
    "benchmarks.memory",
    "benchmarks.speed",
    "benchmarks.speed.tables",
    "benchmarks.loader.tables",
    "benchmarks.loader.rendering_tables",
    "benchmarks.prediction.one_run",  # --help; what it measures is imported later
    "benchmarks.prediction.tables",
    "benchmarks.roundtrip.tables",
    "benchmarks.synthesis.tables",
}


@dataclass(frozen=True)
class Settings:
    """Settings of a command."""


def start(missing: list[str], what: str, *words: str) -> tuple[int, str]:
    """Return the exit status, and what is said on stderr."""
    command = [sys.executable, "-c", WITHOUT, ",".join(missing), what, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert not done.stdout
    return done.returncode, done.stderr


def names(extra: str) -> set[str]:
    """Return what an extra installs, as it is imported."""
    found = {re.match(r"[\w-]+", line)[0] for line in OPTIONAL[extra]}
    return {IMPORTED_AS.get(name, name) for name in found}


def test_the_scripts_and_modules_are_found() -> None:
    assert {"predict_ltvs.py", "demo.py"} <= set(SCRIPTS)
    assert {"benchmarks.speed", "benchmarks.gpu_check", "benchmarks.accuracy.causes"} <= set(MODULES)
    assert set(MODULES) > PLAIN


def test_the_extras_are_those_of_the_project() -> None:
    assert set(EXTRAS["ltvs"]) == names("ltvs")
    assert set(EXTRAS["onnx"]) == names("onnx") - {"onnxruntime"}  # which runs what was written
    assert set(EXTRAS["view"]) == names("view")
    assert set(EXTRAS["triton"]) == names("triton")


def test_package_and_commands_say_the_same() -> None:
    assert (
        how_to_install("onnx")
        == _extras.how_to_install("onnx")
        == ('run pip install ".[onnx]" in a clone of crossattn3d')
    )


@pytest.mark.parametrize(
    ("what", "missing", "extra"),
    [
        ("evaluate_ltvs.py", "tqdm", "ltvs"),
        ("train_ltvs.py", "tyro", "ltvs"),
        ("export_onnx.py", "crossattn3d", "ltvs"),
        ("benchmarks.gpu_check", "triton", "triton"),
    ],
)
def test_an_import_that_fails(what: str, missing: str, extra: str) -> None:
    what = str(EXAMPLES / what) if what.endswith(".py") else what
    line = f'error: needs {missing} (not installed); run pip install ".[{extra}]" in a clone of crossattn3d\n'
    assert start([missing], what, "--help") == (2, line)


@pytest.mark.slow
@pytest.mark.parametrize("what", [*SCRIPTS, *(name for name in MODULES if name not in PLAIN)])
def test_after_a_plain_installation(what: str) -> None:
    what = str(EXAMPLES / what) if what.endswith(".py") else what
    status, said = start([name for extra in EXTRAS for name in EXTRAS[extra]], what, "--help")
    assert status == 2
    line = r'error: needs \w+ \(not installed\); run pip install "\.\[(ltvs|triton)\]" in a clone of crossattn3d\n'
    assert re.fullmatch(line, said), said


@pytest.mark.parametrize(
    ("script", "missing", "extra"), [("predict_ltvs.py", "monai", "ltvs"), ("export_onnx.py", "onnxscript", "onnx")]
)
def test_a_command_that_imports_it_later_does_not_begin(script: str, missing: str, extra: str, tmp_path: Path) -> None:
    """It would say so after hours otherwise."""
    words = {
        "predict_ltvs.py": ("--input", str(tmp_path / "ct.nii.gz"), "--output", str(tmp_path / "labels.nii.gz")),
        "export_onnx.py": ("--run", str(tmp_path), "--output", str(tmp_path / "net.onnx")),
    }
    line = f'error: needs {missing} (not installed); run pip install ".[{extra}]" in a clone of crossattn3d\n'
    assert start([missing], str(EXAMPLES / script), *words[script]) == (2, line)


@pytest.mark.parametrize(("extra", "name"), [(extra, name) for extra in EXTRAS for name in EXTRAS[extra]])
def test_each_is_required(extra: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"^needs (\w+, )*{name}(, \w+)* \(not installed\); run pip install"):
        require_extra(extra)


def test_what_is_missing_is_said_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "ltvs", ("torch", "no_such_library", "nor_this_one"))
    with pytest.raises(InputError, match=r'^needs no_such_library, nor_this_one \(not installed\); run pip install "'):
        require_extra("ltvs")


def test_a_command_checks_before_it_begins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(EXTRAS, "ltvs", ("no_such_library",))
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit, match="2"):
        run(lambda _: pytest.fail("it has begun"), Settings)
    assert capsys.readouterr().err.startswith("error: needs no_such_library (not installed); run pip install")


@pytest.mark.parametrize(
    ("name", "extra"),
    [("torch", "ltvs"), ("torch.nn", "ltvs"), ("monai.losses", "ltvs"), ("onnx", "onnx"), ("PIL", "ltvs")],
)
def test_other_libraries_come_with_the_pipeline(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_there", lambda _: False)
    line = missing_line(ModuleNotFoundError(f"No module named {name!r}", name=name))
    assert line == f"needs {name.partition('.')[0]} (not installed); {how_to_install(extra)}"


@pytest.mark.parametrize("name", ["ltvs.runtime.extra", "benchmarks.spede", "torch.nnn", "tkinter", None])
def test_a_mistake_of_ours_is_not_a_matter_of_extras(name: str | None) -> None:
    assert missing_line(ModuleNotFoundError(f"No module named {name!r}", name=name)) is None
