"""The compiled part: built by this machine's compiler at first use, kept in the user's cache, called through ctypes.

The name of a library in the cache is a hash of all that decides it: sources, compiler, flags and processor. It is built
beside its place and moved there whole, by one process while others that need it wait. `STEEPEST_KERNELS=off` in the
environment switches the compiled part off.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from steepest.cache import cache_dir
from steepest.mistake import Failure

FOLDER = Path(__file__).parent
"""Whose C++ sources, with their headers, become one library."""
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fPIC", "-pthread")
"""A product and a sum may become one operation, rounded once; nothing else is loosened."""
TARGETS = (("-march=native",), ("-mcpu=native",), ())
"""The first that the compiler takes is used."""
PATIENCE_S = 300
SWITCH = "STEEPEST_KERNELS"
"""The environment's variable; `off` switches the compiled part off."""

_lock = threading.Lock()


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they are switched off or cannot be built, which is then said once on stderr."""
    return None if _switched_off() else once()


def once() -> ctypes.CDLL | None:
    """The same, built if need be, whatever the switch says."""
    with _lock:
        return _once()


def ready() -> bool:
    """Whether `library` answers at once: it has been built, is switched off, or there is no compiler."""
    try:
        return _switched_off() or _kept(find_compiler(), cache_dir() / "kernels") is not None
    except (OSError, Failure, subprocess.SubprocessError):
        return True


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Within, also for processes started there, the compiled part is off."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "off"
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        os.environ |= {} if before is None else {SWITCH: before}


def _switched_off() -> bool:
    return os.environ.get(SWITCH, "").lower() in ("off", "0")


@functools.cache
def _once() -> ctypes.CDLL | None:
    try:
        return _declared(built())
    except (OSError, Failure, subprocess.SubprocessError) as problem:
        reason = " ".join(str(problem).split())
        print(f"PyTorch's own kernels serve in the place of the compiled ones: {reason}", file=sys.stderr)
        return None


def built(folder: Path | None = None) -> ctypes.CDLL:
    """Loads the library from `folder` (kernels/ in the user's cache), built where there is none that fits or loads.

    Building takes a while, which one line on stderr says. Raises Failure where there is no compiler, or none that takes
    the sources.
    """
    compiler = find_compiler()
    folder = folder or cache_dir() / "kernels"
    if found := _kept(compiler, folder):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if found := _kept(compiler, folder):  # another process built it meanwhile
            return found
        print("compiling the kernels for this processor, once: it takes up to a minute", file=sys.stderr)
        for target in TARGETS:
            path = _path(compiler, target, folder)
            if not (tail := _compile(compiler, target, path)):
                return ctypes.CDLL(str(path))
    raise Failure(f"{shlex.join(compiler)} does not compile the kernels: {tail}")


def _kept(compiler: list[str], folder: Path) -> ctypes.CDLL | None:
    """The first library in the folder that fits and is whole."""
    for target in TARGETS:
        with contextlib.suppress(OSError):  # not there, or damaged
            return ctypes.CDLL(str(_path(compiler, target, folder)))
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within, other processes wait; where a file system or the platform has no locks, they all build."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def find_compiler() -> list[str]:
    """The command of the C++ compiler: $CXX, or the first of `COMPILERS` that is here. Raises Failure for none."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named and shutil.which(named[0]):
        return named
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise Failure(f"no C++ compiler is here ({', '.join(COMPILERS)})")
    return [found]


def sources(*suffixes: str) -> list[Path]:
    """The files of `FOLDER` with these endings, by name."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix in suffixes)


def _compile(compiler: list[str], target: tuple[str, ...], path: Path) -> str:
    """Compiles beside the place, all sources at once, and moves there. What the compiler complained of, or nothing."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as place:
        made = Path(place) / path.name
        objects = {source: Path(place) / f"{source.stem}.o" for source in sources(".cpp")}

        def run(*words: str) -> str:
            command = [*compiler, *FLAGS, *target, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
            lines = (done.stderr or done.stdout).strip().splitlines() if done.returncode else []
            complaint = next((line for line in lines if "error" in line), lines[-1] if lines else "it failed")
            return complaint if done.returncode else ""

        with ThreadPoolExecutor() as pool:
            tails = pool.map(lambda pair: run("-c", "-o", str(pair[1]), str(pair[0])), objects.items())
            tail = next(filter(None, tails), "") or run("-shared", "-o", str(made), *map(str, objects.values()))
        if not tail:
            made.replace(path)
        return tail


def _path(compiler: list[str], target: tuple[str, ...], folder: Path) -> Path:
    return folder / f"kernels-{_key(compiler, target)}.so"


def _key(compiler: list[str], target: tuple[str, ...]) -> str:
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    texts = (source.read_text(encoding="utf-8") for source in sources(".cpp", ".h"))
    parts = (*texts, *compiler, version.stdout, *FLAGS, *target, *_processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _processor() -> Iterator[str]:
    """What `native` means here."""
    yield from (sys.platform, platform.machine(), platform.processor())
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        yield from (line for line in lines if line.split("\t")[0] in ("model name", "flags", "Features", "CPU part"))


def _declared(made: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of its functions, and on the threads of PyTorch's own OpenMP runtime."""
    size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    sizes, strides = [size] * 5, ctypes.POINTER(size * 4)
    for kind in ("", "half_") if hasattr(made, "steepest_half_conv") else ("",):
        getattr(made, f"steepest_{kind}conv").argtypes = [*[pointer] * 5, *sizes, strides, *[number] * 4]
        for name in ("input_gradient", "weight_gradient"):
            getattr(made, f"steepest_{kind}{name}").argtypes = [*[pointer] * 4, *sizes, strides, *[number] * 3]
    real = ctypes.c_float
    made.steepest_norm.argtypes = [
        *[pointer] * 2,
        number,
        *[size] * 2,
        *[pointer] * 5,
        *[ctypes.c_double] * 2,
        *[number] * 2,
        real,
        number,
    ]
    made.steepest_norm_backward.argtypes = [*[pointer] * 3, number, *[size] * 2, *[pointer] * 5, number, real, number]
    made.steepest_activation.argtypes = [*[pointer] * 2, size, number, real, number]
    made.steepest_activation_backward.argtypes = [*[pointer] * 3, size, number, real, number]
    made.steepest_image_conv.argtypes = [*[pointer] * 4, number, *[size] * 6, number, real, number]
    made.steepest_pool.argtypes = made.steepest_pool_backward.argtypes = [*[pointer] * 3, *[size] * 4, number]
    made.steepest_lanes.argtypes = [*[pointer] * 5, size]
    for name in ("activation", "activation_backward", "pool", "pool_backward"):
        getattr(made, f"steepest_{name}").restype = None
    made.steepest_threads.argtypes = [pointer]
    made.steepest_threads.restype = None
    made.steepest_threads(_openmp())
    return made


def _openmp() -> int | None:
    """The address of GOMP_parallel in the runtime that PyTorch is linked with: two pools would fight over the cores."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None
