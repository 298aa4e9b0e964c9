"""The compiled part is built once, whole or not at all, and does without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from steepest.kernels import eager, library
from steepest.mistake import Failure

DRIVERS = ("driver.cpp", "pointwise_driver.cpp")
SIZES = (
    "import torch; torch.set_num_threads(1);"
    "from steepest.kernels.conv3x3 import conv3x3; from steepest.kernels.eager import serves;"
)
USE = SIZES + "x, w = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3); print(serves(x, w), conv3x3(x, w).sum().item())"
SUM = "1014.0"
"""Of 3 filters, 2 channels and 9 taps each: 13² of 15² of the taps of 5×5 pixels lie on the map."""

has_compiler = pytest.mark.skipif(library.library() is None, reason="no compiled convolution here")


def started(code, folder, **more):
    environment = os.environ | {"XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out.strip(), told.strip()


@pytest.fixture
def quick(monkeypatch):
    """Builds without optimisation, which is what takes the time."""
    monkeypatch.setattr(library, "FLAGS", ("-std=c++17", "-O0", "-fPIC", "-shared", "-pthread"))
    monkeypatch.setattr(library, "TARGETS", ((),))


@has_compiler
def test_of_two_processes_one_builds_a_whole_library_and_says_so_before_while_the_other_waits(tmp_path):
    hurry = (
        "from steepest.kernels import library; library.FLAGS = ('-std=c++17', '-O0', '-fPIC', '-shared', '-pthread');"
    )
    slow = "import time; run = library._compile; library._compile = lambda *given: time.sleep(3) or run(*given);"
    both = [started(hurry + slow + USE, tmp_path) for _ in range(2)]
    outs, told = zip(*map(ended, both), strict=True)
    assert outs == (f"True {SUM}",) * 2
    assert sorted(told) == ["", "compiling the kernels for this processor, once: it takes up to a minute"]
    (made,) = (tmp_path / "steepest" / "kernels").iterdir()
    assert made.suffix == ".so"
    assert ended(started("import pathlib, sys; pathlib.Path.replace = None;" + hurry + USE, tmp_path)) == (
        f"True {SUM}",
        "",
    )


@has_compiler
def test_a_damaged_library_is_built_anew(tmp_path, quick):
    made = tmp_path / f"kernels-{library._key(library.find_compiler(), ())}.so"
    made.write_bytes(b"not a library")
    assert library.built(tmp_path).steepest_conv
    assert list(tmp_path.iterdir()) == [made] and made.read_bytes()[:4] == b"\x7fELF"


@has_compiler
def test_the_name_follows_source_compiler_flags_and_processor(tmp_path, monkeypatch):
    compiler = library.find_compiler()
    names = {
        library._key(compiler, ()),
        library._key(compiler, ("-march=native",)),
        library._key([*compiler, "-g"], ()),
    }
    monkeypatch.setattr(library, "_processor", lambda: iter(["another"]))
    names.add(library._key(compiler, ()))
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    for name in ("one.cpp", "two.cpp", "shared.h"):
        (tmp_path / name).write_text(f"int {name[:3]};")
        names.add(library._key(compiler, ()))
    (tmp_path / "notes.txt").write_text("no part of it")
    names.add(library._key(compiler, ()))
    assert len(names) == 7


@has_compiler
def test_the_next_flags_are_tried_where_the_compiler_does_not_know_the_first(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(library, "TARGETS", (("-march=nothing",), ()))
    assert library.built(tmp_path).steepest_conv


@has_compiler
def test_a_source_that_does_not_compile_is_told_by_its_error(tmp_path, quick, monkeypatch):
    (tmp_path / "right.cpp").write_text("int right = 1;")
    (tmp_path / "wrong.cpp").write_text("int wrong = nowhere;")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    with pytest.raises(Failure, match=r"does not compile the kernels: .*wrong\.cpp.*nowhere"):
        library.built(tmp_path / "made")
    assert not list((tmp_path / "made").iterdir())


def test_no_compiler_is_a_failure(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Failure, match=r"no C\+\+ compiler is here \(c\+\+, g\+\+, clang\+\+\)"):
        library.find_compiler()


def test_without_a_compiler_pytorchs_serves_and_one_sentence_says_so(tmp_path):
    twice = USE + "; conv3x3(x, w)"
    out, told = ended(started(twice, tmp_path, PATH=str(tmp_path), CXX=""))
    assert out == f"False {SUM}"
    assert told.count("\n") == 0 and told.startswith(
        "PyTorch's own kernels serve in the place of the compiled ones: no C++"
    )


def test_a_cache_that_cannot_be_written_is_told_too(tmp_path):
    (tmp_path / "steepest").write_text("a file in the way")
    out, told = ended(started(USE, tmp_path))
    assert out == f"False {SUM}" and told.startswith("PyTorch's own kernels serve")


def test_switched_off_nothing_is_built_and_nothing_said(tmp_path):
    assert ended(started(USE, tmp_path, STEEPEST_KERNELS="off")) == (f"False {SUM}", "")
    assert not list(tmp_path.iterdir())


def test_within_the_switch_it_is_off_and_afterwards_as_before(monkeypatch):
    for before in ("on", None):
        monkeypatch.setenv(library.SWITCH, before) if before else monkeypatch.delenv(library.SWITCH)
        with library.switched_off():
            assert library.library() is None and library.ready()
        assert os.environ.get(library.SWITCH) == before


@has_compiler
def test_it_is_ready_once_it_has_been_built_or_cannot_be(tmp_path, quick, monkeypatch):
    monkeypatch.delenv(library.SWITCH, raising=False)
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path)
    assert not library.ready()
    library.built()
    assert library.ready()
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path / "another")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert library.ready()


def test_the_compiler_named_in_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("CXX", f"{sys.executable} -O1")
    assert library.find_compiler() == [sys.executable, "-O1"]


def driver(name, folder, *flags):
    """Builds a driver, which compares all results with direct sums."""
    made = folder / "driver"
    command = [
        *library.find_compiler(),
        "-std=c++17",
        *flags,
        "-pthread",
        f"-I{library.FOLDER}",
        "-o",
        str(made),
    ]
    subprocess.run([*command, str(Path(__file__).with_name(name))], check=True, timeout=900)
    return made


@has_compiler
@pytest.mark.parametrize(("name", "numbers"), [*((name, []) for name in DRIVERS), ("driver.cpp", ["-DHALVES"])])
def test_the_sanitizers_find_nothing(tmp_path, name, numbers):
    if numbers and not eager.halves():
        pytest.skip("no products of halves here")
    few = "-fno-sanitize=null,object-size,alignment"  # which make the compilation half as long again
    checks = ["-fsanitize=address,undefined", few, "-fno-sanitize-recover=all"]
    probe = [*library.find_compiler(), *checks, "-x", "c++", "-", "-o", str(tmp_path / "probe")]
    done = subprocess.run(probe, input="int main() {}", text=True, capture_output=True, check=False)
    if done.returncode or subprocess.run([tmp_path / "probe"], capture_output=True, check=False).returncode:
        pytest.skip("no sanitizers here")
    made = driver(name, tmp_path, *numbers, *checks, *library.TARGETS[0])
    done = subprocess.run([made], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@has_compiler
@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("target", [[], ["-mavx2", "-mfma"]], ids=str)
def test_other_widths_of_vector_compute_the_same(tmp_path, target, name):
    if target and not {"avx2", "fma"} <= set(" ".join(library._processor()).split()):
        pytest.skip("not a processor with AVX2")
    done = subprocess.run(
        [driver(name, tmp_path, "-O1", *target)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout
