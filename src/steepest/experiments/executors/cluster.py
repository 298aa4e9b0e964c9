"""Trials on a Ray cluster: the one at `RAY_ADDRESS`, or one that is started on this machine.

Each training is a Ray task with its share of a node. It trains in a folder of its own there, and its run folder comes
home as it ends, so that the nodes need no file system in common; where the study has a part of it already, that goes
along. The data must be at the same place on every node, or be known sets, and steepest be installed there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...mistake import Failure, Mistake
from ..worker import Worker
from . import TRIES, died

REACHED_S = 10.0
"""How long a cluster may take to answer at first."""
Event = dict[str, Any]


@dataclass
class Running:
    """A training under way. told: what it yields, as it comes."""

    job: Event
    told: Any
    tries: int = 1
    spoke: bool = False


class Cluster:
    """Trains on a Ray cluster. runs: receives the run folders. workers: trainings at a time; None: as many as the nodes
    have room for. threads: of each. gpu: whether each has a GPU for itself."""

    def __init__(self, runs: Path, workers: int | None, threads: int, gpu: bool) -> None:
        self.runs, self.threads, self.gpu = runs, threads, gpu
        self.ray = _joined()
        self.held = contextlib.ExitStack()
        self.held.enter_context(contextlib.redirect_stdout(sys.stderr))  # Ray tells there of workers that died
        self.workers = workers or self._room()
        self.wishes = self.ray.remote(**_beside(self.ray), num_cpus=0, max_restarts=-1, max_task_retries=-1)(
            Wishes
        ).remote()
        told: dict[str, Any] = {"num_cpus": threads, "num_gpus": int(gpu), "max_retries": 0, "num_returns": "streaming"}
        self.task = self.ray.remote(**told)(trained)
        self.running: dict[int, Running] = {}

    def _room(self) -> int:
        """The trainings that the nodes have room for, each within one of them."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if self.gpu:
            return max(1, sum(int(min(node.get("GPU", 0), node.get("CPU", 0) // self.threads)) for node in nodes))
        return max(1, sum(int(node.get("CPU", 0) // self.threads) for node in nodes))

    @property
    def free(self) -> int:
        """How many jobs it would take now."""
        return self.workers - len(self.running)

    def submit(self, jobs: list[Event]) -> None:
        """Trains trials, each by itself."""
        for job in jobs:
            self.running[job["number"]] = Running(job, self._begun(job))

    def _begun(self, job: Event) -> Any:
        folder = self.runs / job["request"]["run_name"]
        return self.task.remote(job, packed(folder) if (folder / "run.json").is_file() else None, self.wishes)

    def stop(self, number: int) -> None:
        """Lets a training end at its next measurement."""
        self.wishes.stop.remote(number)

    def wait(self) -> list[Event]:
        """What the trainings tell, as soon as one tells anything."""
        told: list[Event] = []
        while not told:
            mine = {each.told: number for number, each in self.running.items()}
            ready, _ = self.ray.wait(list(mine), num_returns=1, fetch_local=False)
            for generator in ready:
                told += self._next(mine[generator])
        return told

    def _next(self, number: int) -> list[Event]:
        """The next thing that a training tells; one whose worker or node died is begun again."""
        one = self.running[number]
        try:
            event: Event = self.ray.get(next(one.told))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            why = str(getattr(error, "cause", None) or error).strip()
            return self._lost(number, why.splitlines()[0] if why else "it ended early")
        one.spoke = True
        if "folder" in event:
            home(event["folder"], self.runs)
            return []
        if "end" in event:
            del self.running[number]
        return [event]

    def _lost(self, number: int, why: str) -> list[Event]:
        one = self.running[number]
        if one.tries < TRIES:
            self.running[number] = Running(one.job, self._begun(one.job), one.tries + 1, one.spoke)
            return []
        if not one.spoke:
            raise Failure(f"no worker of the Ray cluster lives long enough to begin: {why}")
        del self.running[number]
        return [died(number, f"because {why}")]

    def close(self) -> None:
        """Ends all trainings; those under way begin again another time."""
        self.running = {}
        self.ray.shutdown()
        self.held.close()


class Wishes:
    """Which trainings are to end, where every node can ask."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def stop(self, number: int) -> None:
        self.numbers.add(number)

    def stopped(self, number: int) -> bool:
        return number in self.numbers


def trained(job: Event, part: bytes | None, wishes: Any) -> Iterator[Event]:
    """A training on a node: what a worker process would tell (`worker.py`), and its folder before the end."""
    import ray

    told: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="steepest-") as place:
        if part is not None:
            home(part, Path(place))
        worker = Worker(told.put)
        mine = job | {"request": job["request"] | {"out": place}}

        def work() -> None:
            try:
                worker.do({"train": [mine]})
            except BaseException as error:
                told.put(error)
            told.put(None)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while (event := told.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            if "end" in event and event["run"] is not None:
                yield {"folder": packed(Path(place) / event["run"])}
            yield event
            if "point" in event and ray.get(wishes.stopped.remote(job["number"])):
                worker.stopped = job["number"]
        thread.join()


def _beside(ray: Any) -> dict[str, Any]:
    """Where this process is, so that it ends with no other node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=here, soft=True)}


def packed(folder: Path) -> bytes:
    """A run folder as a tar file."""
    block = io.BytesIO()
    with tarfile.open(fileobj=block, mode="w") as tar:
        tar.add(folder, folder.name)
    return block.getvalue()


def home(block: bytes, out: Path) -> None:
    """Lays a packed run folder under `out`, whole or not at all, in the place of a part of it."""
    out.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    try:
        with tarfile.open(fileobj=io.BytesIO(block)) as tar:
            tar.extractall(draft, filter="data")
        (folder,) = draft.iterdir()
        if (out / folder.name).exists():
            (out / folder.name).rename(draft / ".before")
        folder.rename(out / folder.name)
    except OSError as error:
        raise Mistake(f"cannot write runs under {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _joined() -> Any:
    """Ray, joined to a cluster; one that cannot be reached is a sentence."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "auto", "local"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), REACHED_S).close()
        except (OSError, ValueError) as error:
            raise Mistake(f"the Ray cluster at {address} cannot be reached: {error}") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise Mistake("trainings on a Ray cluster need ray: pip install 'steepest[ray]'") from None
    try:
        ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = str(error).strip().splitlines()[0]
        raise Mistake(f"the Ray cluster at {address or 'this machine'} cannot be used: {why}") from error
    return ray
