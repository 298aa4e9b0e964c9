"""Runs test files' `process_…` functions, each in a fresh group of processes, for tests that read what they give.

`python forked.py FOLDER FILE…`: each function is called with the rank and a folder of its own in every process of a
gloo group of two, or of as many as the file's PROCESSES has by the function's name; what it gives is kept as
FOLDER/FILE.FUNCTION.RANK.pt, its error as .txt. The processes are forks of one that has loaded torch, which is what
takes the time.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import torch
from torch import distributed


def main(out, files):
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # loads what each fork would load by itself otherwise
    for path in map(Path, files):
        module = loaded(path)
        for name in [name for name in vars(module) if name.startswith("process_")]:
            together(out / f"{path.stem}.{name}", getattr(module, name), getattr(module, "PROCESSES", {}).get(name, 2))


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def together(place, job, count):
    """Calls the job in so many processes; one may end as it likes."""
    place.mkdir()
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            one(place, job, rank, count)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def one(place, job, rank, count):
    warnings.simplefilter("error")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    try:
        patience = datetime.timedelta(seconds=60)
        store = f"file://{place}/store"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=count, timeout=patience)
        distributed.barrier()  # nobody may be gone before all are connected
        torch.save(job(rank, place), place.with_name(f"{place.name}.{rank}.pt"))
    except BaseException:
        place.with_name(f"{place.name}.{rank}.txt").write_text(traceback.format_exc())
    finally:
        os._exit(0)


def run(folder):
    """Runs all such functions of all tests, where that is not done yet; gives a function that reads what one gave."""
    if not folder.exists():
        folder.mkdir()
        tests = sorted(Path(__file__).parent.rglob("test_*.py"))
        files = [path for path in tests if "\ndef process_" in path.read_text(encoding="utf-8")]
        command = [sys.executable, __file__, folder, *files]
        subprocess.run(command, check=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})

    def given(file, function):
        errors = [path.read_text() for path in folder.glob(f"{Path(file).stem}.{function}.*.txt")]
        assert not errors, errors[0]
        paths = sorted(folder.glob(f"{Path(file).stem}.{function}.*.pt"))
        assert paths
        return [torch.load(path, weights_only=False) for path in paths]

    return given


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
