"""The house holds: imports go down only, nothing loads torch that need not, and files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "steepest"
FILES = sorted(SOURCE.rglob("*.py"))
LEVELS = {
    **dict.fromkeys(("cache", "mistake", "recipe", "run", "stats"), 0),
    **dict.fromkeys(("data", "models", "techniques", "kernels"), 1),
    **dict.fromkeys(("train", "recipes"), 2),
    **dict.fromkeys(("experiments", "diagnosis"), 3),
    **dict.fromkeys(("labs", "report"), 4),
    **dict.fromkeys(("cli", "web", "__init__"), 5),
}
TOP = ("cli", "__init__", "__main__")
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "core"}


def room(path):
    """The room of a file; the command line's files are one room."""
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "cli" if name.startswith("cli_") else name


def imported(path):
    """Every module of steepest that a file names in an import, as (dotted name within the package, line)."""
    package = ("steepest", *path.relative_to(SOURCE).parts[:-1])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    never_run = {id(inner) for node in tests for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in never_run:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *([node.module] if node.module else [])))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name.removeprefix("steepest."), node.lineno) for name in names if name.startswith("steepest."))


def allowed(path, name):
    here, there = room(path), name.partition(".")[0]
    if there not in LEVELS:
        return here in TOP or there.isupper() or there == "__version__"
    if here == there or (here == "models" and name.startswith("techniques.layers")):
        return True
    sideways = LEVELS[here] == LEVELS[there] == 0 or (here, there) == ("train", "recipes")
    return LEVELS[there] < LEVELS[here] or sideways


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    if room(path) in TOP:
        return
    assert room(path) in LEVELS, f"{room(path)} is no room of the house"
    wrong = [f"line {line}: {name}" for name, line in imported(path) if not allowed(path, name)]
    assert not wrong


def test_no_room_of_the_lowest_level_imports_in_a_circle():
    below: dict[str, set[str]] = {name: set() for name, level in LEVELS.items() if level == 0}
    for path in FILES:
        if room(path) in below:
            below[room(path)] |= {name.partition(".")[0] for name, _ in imported(path)} & (below.keys() - {room(path)})
    while below:
        free = [name for name, needs in below.items() if not needs & below.keys()]
        assert free, f"a circle of imports among {sorted(below)}"
        below = {name: needs for name, needs in below.items() if name not in free}


def families(path):
    parts = path.relative_to(SOURCE).parts
    return parts[1] if parts[0] == "techniques" and len(parts) == 3 else None


def test_no_family_imports_another():
    for path in filter(families, FILES):
        for name, line in imported(path):
            parts = name.split(".")
            if parts[0] == "techniques" and len(parts) > 2:
                assert parts[1] in (families(path), "card", "surgery", "layers"), f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert path.stem not in FORBIDDEN and path.parent.name not in FORBIDDEN
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_command_line_prints_and_nothing_has_global_randomness(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import) and node.names[0].name == "random"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            to_error = any(ast.unparse(word.value) == "sys.stderr" for word in node.keywords if word.arg == "file")
            assert called != "print" or room(path) == "cli" or to_error, f"line {node.lineno} prints"
            own = called.endswith((".default_rng", ".SeedSequence"))
            assert own or not called.startswith("np.random."), f"line {node.lineno}: NumPy's global randomness"
            assert called != "torch.manual_seed" or room(path) == "train", f"line {node.lineno} seeds for everybody"


LIGHT = {
    "steepest": "",
    "steepest.cli": "",
    "steepest.recipes": "[room.load(name) for name in room.names()]",
    "steepest.techniques": "[room.entry(name) for name in room.names()]; room.check([])",
    "steepest.models": "room.catalogue(); room.check('mlp')",
    "steepest.data": "room.NAMES",
    "steepest.train": "",
    "steepest.train.request": "room.ask('digits', 'quick')",
    "steepest.report": "",
    "steepest.report.run_page": "",
    "steepest.run": "",
    "steepest.recipe": "",
    "steepest.mistake": "",
}
HEAVY = ("torch", "scipy", "sklearn", "PIL", "tensorboard", "pooch", "onnx", "optuna")


@pytest.mark.parametrize("module", LIGHT)
def test_nothing_loads_torch_that_need_not(module):
    code = f"import sys, importlib; room = importlib.import_module({module!r}); {LIGHT[module]}\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_room_has_its_tests_and_every_test_file_its_room():
    for path in FILES:
        if room(path) in (*TOP, "recipes") or path.stem == "__init__":
            continue
        assert (ROOT / "tests" / path.relative_to(SOURCE)).parent.is_dir(), f"{path} has no folder of tests"
