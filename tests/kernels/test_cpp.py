"""The C++ primitive: how it is compiled, what happens where it cannot be, and what only it can get wrong."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import crossattn3d
from crossattn3d import CSCA
from crossattn3d.kernels import Gram
from crossattn3d.kernels.cpp import build, run
from support import SUPPORT
from support.backends import needs_cpp
from support.four_passes import FourPasses
from support.random_parameters import generator, normal

PASSES = FourPasses(run.run_pass)

ATTEND = """
import torch
from crossattn3d import CSCA
torch.manual_seed(0)
u, e = torch.randn(2, 1, 3, 40, 50, 60).unbind()
auto, cpp = CSCA(3), CSCA(3, backend="cpp")
cpp.load_state_dict(auto.state_dict())
"""


def fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the package, and without what another process has built."""
    source = str(Path(crossattn3d.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", ATTEND + code], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": source} | environment, check=False)  # fmt: skip


@pytest.fixture
def compiler(tmp_path) -> Path:
    """A folder to have for PATH, with a C++ compiler in it that cannot compile."""
    path = tmp_path / "bin" / "g++"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing as C++' >&2\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def unbuilt():
    """A process in which nothing has been built, before the test and after it."""
    build.library.cache_clear()
    yield
    build.library.cache_clear()


#: Compilers in Python that write their result to `out`.
WRITES = {
    "not UTF-8": "sys.stderr.buffer.write(b'x.cpp: error: \\xff\\n')\nsys.exit(1)",
    "without a standard library": (
        "print('x.cpp: undefined reference to `operator new(unsigned long)\\'', file=sys.stderr)\nsys.exit(1)"
    ),
    "of garbage": "open(out, 'wb').write(b'x' * 2**16)",
    "of something else": f"import shutil\nshutil.copy({torch._C.__file__!r}, out)",
}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("missing", "got no C++ compiler"),
        ("failing", "could not compile it (x.cpp:1: error: no such thing as C++)"),
        ("silent", "could not compile it (no reason given)"),
        ("not UTF-8", "could not compile it (x.cpp: error: \ufffd)"),
        ("without a standard library", "could not compile it (x.cpp: undefined reference to `operator new"),
        ("of garbage", "invalid ELF header"),
        ("of something else", "undefined symbol: run_pass"),
        ("cache open to others", "expected a folder that only this user can write to"),
        ("cache a link to what is open to others", "expected a folder that only this user can write to"),
        ("cache where everyone can put another", "everyone can replace what is in it; set XDG_CACHE_HOME"),
        ("cache not a folder", "Not a directory"),
    ],
)
def test_without_it_all_works_and_says_once_why_not(broken, reason, compiler, unbuilt, monkeypatch, tmp_path, caplog):
    cache = tmp_path / "cache"
    if broken == "missing":
        compiler.unlink()
    elif broken == "silent":
        compiler.write_text("#!/bin/sh\nexit 1\n")
    elif broken in WRITES:
        compiler.write_text(
            f"#!{sys.executable}\nimport sys\nout = sys.argv[sys.argv.index('-o') + 1]\n{WRITES[broken]}"
        )
    elif broken == "cache a link to what is open to others":
        (tmp_path / "open").mkdir(mode=0o777)
        (tmp_path / "open").chmod(0o777)
        cache.mkdir()
        (cache / "crossattn3d").symlink_to(tmp_path / "open")
    elif broken == "cache open to others":
        (cache / "crossattn3d").mkdir(parents=True)
        (cache / "crossattn3d").chmod(0o777)
    elif broken == "cache where everyone can put another":
        (cache / "crossattn3d").mkdir(mode=0o700, parents=True)
        cache.chmod(0o777)
    elif broken == "cache not a folder":
        cache.write_text("")
    for name, value in (("PATH", compiler.parent), ("CXX", ""), ("XDG_CACHE_HOME", cache)):
        monkeypatch.setenv(name, str(value))
    u, e = (normal((1, 3, 40, 50, 60), generator(seed), torch.float32) for seed in (0, 1))
    assert CSCA(3)(u, e).shape == (1, 3, 40, 50, 60)
    before, after = "cpp: expected maps and a machine that it can run on; ", "use backend='auto'"
    with pytest.raises(ValueError, match=f"^{before}.*{re.escape(reason)}.*; {after}$"):
        CSCA(3, backend="cpp")(u, e)
    (said,) = [record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()]
    assert said.startswith("crossattn3d: C++ cannot be used (")
    assert reason.removeprefix("got ") in said
    assert said.endswith("); backend 'auto' takes PyTorch, which is slower")
    assert not list((tmp_path / "open").glob("*"))
    assert not list(tmp_path.rglob("*.so"))
    assert not list(tmp_path.rglob("building-*"))


def test_a_compiler_that_never_ends(monkeypatch, compiler, tmp_path):
    compiler.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(build, "PATIENCE", 0.2)
    monkeypatch.setenv("PATH", f"{compiler.parent}:{Path('/bin')}")
    monkeypatch.setattr(build.shutil, "which", lambda _: str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert re.fullmatch(r"Command .*/g\+\+.* timed out after 0.2 seconds", build.library.__wrapped__())


@pytest.mark.parametrize(("chosen", "warnings"), [("no-such-compiler -m64", 1), ("sh", 0), ("", 0)])
def test_a_compiler_that_is_not_there_is_said(monkeypatch, caplog, chosen, warnings):
    monkeypatch.setenv("CXX", chosen)
    with caplog.at_level("WARNING", "crossattn3d"):
        build._compilers()
    expected = f"CXX: expected a C++ compiler; got {chosen!r}, which is not found; another is taken: correct it"
    assert caplog.messages == [expected] * warnings


def test_a_user_without_a_home(monkeypatch, compiler):
    monkeypatch.setenv("CXX", str(compiler))
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert build.library.__wrapped__() == "Could not determine home directory."


def test_other_systems_have_none(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert build.library.__wrapped__() == "it is not built on win32"


@pytest.mark.slow
@needs_cpp
def test_two_processes_may_build_at_once_and_a_third_finds_it(tmp_path):
    code = "assert not cpp(u, e).isnan().any()"
    source = str(Path(crossattn3d.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", ATTEND + code]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    # One of them builds, and says so without any logging set up; the other one waits.
    assert re.fullmatch(r"crossattn3d: compiling C\+\+ for this processor with \S+, once per user, .*\n", said), said
    (built,) = (tmp_path / "crossattn3d").iterdir()
    assert stat.S_IMODE(built.parent.stat().st_mode) == 0o700
    before = built.stat().st_mtime_ns
    third = fresh_process(code, XDG_CACHE_HOME=str(tmp_path))
    assert (third.returncode, third.stderr) == (0, "")
    assert built.stat().st_mtime_ns == before


@pytest.fixture
def built(monkeypatch, tmp_path, unbuilt) -> Path:
    """Return a copy of this machine's library in a cache of its own, as if an earlier process had compiled it."""
    build.library()
    (compiled, *_) = build.cache_folder().glob(f"tiles-{build._key()}-*.so")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Path(shutil.copy2(compiled, build.cache_folder()))


@pytest.mark.slow
@needs_cpp
def test_a_library_that_was_cut_short_is_compiled_again(built):
    """Loading what a full disk or a copy has left of one would end the process, with SIGBUS."""
    whole = built.read_bytes()
    built.write_bytes(whole[: len(whole) // 3])
    assert fresh_process("cpp(u, e)").returncode == 0
    assert built.read_bytes() == whole


@pytest.mark.slow
@needs_cpp
def test_a_library_that_others_can_write_to_is_not_loaded(built):
    before = built.stat().st_ino
    built.chmod(0o777)
    assert fresh_process("cpp(u, e)").returncode == 0
    assert built.stat().st_ino != before
    assert stat.S_IMODE(built.stat().st_mode) == 0o700


@needs_cpp
def test_a_library_serves_without_the_compiler_that_made_it(built, monkeypatch):
    monkeypatch.setattr(build, "_compilers", lambda: [])
    assert not isinstance(build.library(), str)
    built.unlink()
    assert "no C++ compiler" in build.library.__wrapped__()


@needs_cpp
def test_a_file_of_the_right_name_with_something_else_in_it_is_not_taken(built, monkeypatch):
    monkeypatch.setattr(build, "_compilers", lambda: [])
    other = Path(torch._C.__file__)
    shutil.copy2(other, built.with_name(f"tiles-{build._key()}-{build._checksum(other)}.so"))
    built.unlink()
    assert "no C++ compiler" in build.library.__wrapped__()


@pytest.mark.slow
@needs_cpp
def test_the_next_compiler_is_tried(monkeypatch, compiler, tmp_path, unbuilt):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))
    assert not isinstance(build.library(), str)


@pytest.mark.slow
@needs_cpp
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_compiler_that_leaves_out_the_standard_library_fails(tmp_path):
    """As `gcc` does, whose result could not be loaded."""
    with pytest.raises(build.UnavailableError, match=r"gcc could not compile it \(.*undefined"):
        build._compile("gcc", tmp_path, "key")
    assert not list(tmp_path.iterdir())


@needs_cpp
@pytest.mark.parametrize("own", [False, True], ids=["threads of PyTorch", "own threads"])
def test_threads_decide_the_rounding_and_nothing_else(monkeypatch, own):
    monkeypatch.setattr(run, "VALUES_PER_THREAD", 1)
    if own:
        monkeypatch.setattr(run, "team", lambda: None)
    u, e = (normal((2, c, 7, 40, 50), generator(c), torch.float32) for c in (3, 5))
    w = normal((6,), generator(1), torch.float32)
    before, found = torch.get_num_threads(), {}
    try:
        for threads in (1, 2, 7, 1000):
            torch.set_num_threads(threads)
            found[threads] = [PASSES.reduce(u, e, w[:4], w, w, False)[k] for k in (0, 3)]
            again = [PASSES.reduce(u, e, w[:4], w, w, False)[k] for k in (0, 3)]
            assert all(torch.equal(a, b) for a, b in zip(found[threads], again, strict=True))
    finally:
        torch.set_num_threads(before)
    for gram, qkv in found.values():
        assert torch.equal(qkv, found[1][1])
        torch.testing.assert_close(gram, found[1][0], rtol=1e-6, atol=1e-6 * float(found[1][0].abs().max()))


@needs_cpp
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("factor", [1.0, 1 / 3])
def test_bfloat16_is_rounded_as_pytorch_rounds_it(factor, layout):
    """Every bfloat16 there is, infinities and NaN too, in 16 channels that each go to themselves."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    e = every.view(1, 1, 16, 64, 64).contiguous()
    out = PASSES.apply(e, torch.full((1, 1, 1), factor), torch.zeros(1, 1), None, None, None)
    expected = (e.float() * factor).bfloat16()
    assert torch.equal(out.isnan(), expected.isnan())
    assert torch.equal(out.nan_to_num(nan=0.0), expected.nan_to_num(nan=0.0))
    finite = torch.where(e.isfinite(), e, 0).view(1, 16, 16, 16, 16).contiguous(memory_format=layout)
    wide = PASSES.apply(finite, factor * torch.eye(16)[None], torch.zeros(1, 16), None, None, None)
    assert torch.equal(wide, (finite.float() * factor).bfloat16())


@needs_cpp
def test_a_nan_stays_where_it_is():
    e = torch.ones(1, 2, 5, 40, 50)
    e[0, 0, 2, 3, 4] = torch.nan
    out = PASSES.apply(e, torch.eye(2)[None], torch.zeros(1, 2), None, None, None)
    assert out.isnan().sum() == 2  # 0 * NaN is NaN: both channels of that voxel
    assert out[0, :, 2, 3, 4].isnan().all()
    assert PASSES.reduce(e, e, None, None, None, False)[0].isnan().any()


@needs_cpp
def test_no_memory_is_said(monkeypatch):
    failing = SimpleNamespace(run_pass=lambda *_: 1)
    monkeypatch.setattr(run, "library", lambda: failing)
    with pytest.raises(MemoryError, match=r"cpp: expected memory for the tiles of each thread"):
        PASSES.reduce(*torch.zeros(2, 1, 2, 3, 4, 5).unbind(), None, None, None, False)


@pytest.mark.slow
@needs_cpp
@pytest.mark.parametrize("kind", ["address,undefined", "thread"])
@pytest.mark.parametrize("name", ["sanitized_pass.cpp", "sanitized_convolution.cpp"])
def test_it_touches_no_memory_but_its_own(name, kind, tmp_path):
    """Under the compiler's sanitizers: no access out of bounds, nothing undefined, no race between threads."""
    program, source = tmp_path / "main", SUPPORT / name
    flags = ["-std=c++17", "-O1", "-g", "-march=native", "-pthread", "-Wno-psabi"]
    flags += [f"-fsanitize={kind}", "-fno-sanitize-recover=all", f'-DSOURCE="{build.SOURCE}"']
    command = ["g++", *flags, "-o", str(program), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in made.stderr and "san" in made.stderr:
        pytest.skip(f"no sanitizer here: {made.stderr.splitlines()[-1]}")
    assert made.returncode == 0, made.stderr[-3000:]
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_cpp
def test_many_rows_keep_as_many_digits_as_few():
    """Their columns are packed, and each lane of a vector then adds up more voxels than otherwise."""

    def error(channels: int) -> float:
        u, e = (1 + normal((1, channels, 20011), generator(seed)) for seed in (1, 2))
        (found,) = run.run_pass([u.float(), e.float()], [Gram(0, channels, channels, channels)], [], torch.float32)
        truth = u.float().double() @ e.float().double().mT
        return float(((found.double() - truth) / truth).square().mean().sqrt())

    assert error(60) <= 1.3 * error(20)
