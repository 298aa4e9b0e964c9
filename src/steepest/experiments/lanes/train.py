"""Many small trainings at once: lanes, block by block on all threads, each given as it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import torch

from ... import techniques
from ...data.dataset import Dataset
from ...recipe import Recipe, Use
from ...train.build import build, feed
from ...train.request import Request
from ...train.training import Training
from . import compiled
from .block import Block, Lane, drawing
from .compiled import Compiled
from .net import OPTIMIZERS, floats, read, rule
from .plain import Plain
from .span import Rows
from .suited import suited

CACHE = 1 << 20
"""Bytes of weights and of what an optimiser keeps that one processor's cache holds beside a batch."""
COMPILED, STACKED = 64, 512
"""The most lanes of a block."""
POLL_S = 0.1
CPU = torch.device("cpu")

Asked = Sequence[tuple[Recipe, Request]]


def train(asked: Asked, dataset: Dataset, *, threads: int | None = None) -> list[Lane]:
    """Trains all that is asked for and gives a lane for each, in their order; see `finished`."""
    lanes = dict(finished(asked, dataset, threads=threads))
    return [lanes[place] for place in range(len(asked))]


def finished(
    asked: Asked, dataset: Dataset, *, threads: int | None = None, should_stop: Callable[[], bool] | None = None
) -> Iterator[tuple[int, Lane]]:
    """Trains all that is asked for, and gives each lane with its place in `asked` as it ends.

    The trainings may differ in anything; those that share data, seed and network go over their batches together. Each
    comes to what it would by itself, but for the rounding of floats. threads: as many as PyTorch uses where None.
    should_stop: asked ten times a second; what has not ended when it says so is not given. Raises Mistake where
    `suits` has a reason against one of them, before any is begun.
    """
    recipes = [suited(recipe, dataset, request) for recipe, request in asked]
    seeds = [request.seed for _, request in asked]
    fast = compiled.serves()
    workers = min(len(asked), threads or torch.get_num_threads()) if fast else 1
    blocks, taking, stop = _blocks(recipes, seeds, dataset, workers, fast), threading.Lock(), threading.Event()
    ended: queue.Queue[tuple[int, Lane] | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            while not stop.is_set():
                with taking:
                    block = next(blocks, None)
                if block is None:
                    break
                for one in block.run(stop):
                    ended.put(one)
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    crew, before = [threading.Thread(target=work, daemon=True) for _ in range(workers)], torch.get_num_threads()
    torch.set_num_threads(1 if fast else threads or before)  # the workers are threads enough
    for one in crew:
        one.start()
    try:
        yield from _given(ended, workers, stop, should_stop)
    finally:
        stop.set()
        for one in crew:
            one.join()
        torch.set_num_threads(before)


def _given(
    ended: queue.Queue[tuple[int, Lane] | BaseException | None],
    workers: int,
    stop: threading.Event,
    should_stop: Callable[[], bool] | None,
) -> Iterator[tuple[int, Lane]]:
    """What the workers put into the queue, until each has put its end."""
    while workers:
        if should_stop is not None and should_stop():
            stop.set()
        try:
            one = ended.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if isinstance(one, BaseException):
            raise one
        if one is None:
            workers -= 1
        else:
            yield one


def _blocks(recipes: list[Recipe], seeds: list[int], dataset: Dataset, workers: int, fast: bool) -> Iterator[Block]:
    """The blocks, each built when it is asked for. Those of one seed follow each other and share their data."""
    groups: dict[tuple[int, str, str, int], list[int]] = {}
    for place, recipe in enumerate(recipes):
        seed, twin = seeds[place], _twin(recipe)
        alike = twin.replace(use=[use for use in twin.use if techniques.names()[use.name] != "init"])
        groups.setdefault((seed, _data(recipe), str(alike.as_dict()), rule(recipe).kind), []).append(place)
    fed_for = None
    for key in sorted(groups):
        seed = key[0]
        if fed_for != key[:2]:
            fed = feed(recipes[groups[key][0]], dataset, seed, CPU)
            rows, held = Rows.of(fed[0]), Rows.of(fed[1]) if fed[1] else None
            fed_for = key[:2]
        built: dict[Recipe, Training] = {}
        for place in groups[key]:
            twin = _twin(recipes[place])
            if twin not in built:
                with drawing, torch.random.fork_rng(devices=[]):
                    built[twin] = build(twin, dataset, seed, CPU, fed)
        net = read(next(iter(built.values())).model, recipes[groups[key][0]], bool(dataset.classes))
        for places in _divided(groups[key], net.parameters, key[3], workers if fast else 0):
            its, trainings = [recipes[place] for place in places], [built[_twin(recipes[place])] for place in places]
            states = [list(floats(training.model).values()) for training in trainings]
            stack = (Compiled if fast else Plain)(net, [rule(recipe) for recipe in its], states, rows, held)
            yield Block(net, stack, places, its, trainings)


def _twin(recipe: Recipe) -> Recipe:
    """The recipe without what each lane has for itself: trainings of one twin and seed begin with the same weights."""
    plain = {"optimizer": Use("sgd"), "schedule": Use("constant"), "lr": 0.0, "momentum": 0.0, "weight_decay": 0.0}
    return recipe.replace(name="lanes", **plain)


def _data(recipe: Recipe) -> str:
    """What, beside the seed, decides the batches."""
    return f"{recipe.val_fraction} {recipe.resolution} {recipe.batch_size}"


def _divided(places: list[int], parameters: int, kind: int, workers: int) -> Iterator[list[int]]:
    """Blocks of lanes that a processor's cache holds, as many for each worker; without workers as large as may be."""
    if workers:
        lane = 4 * parameters * (3 if OPTIMIZERS[kind].startswith("adam") else 2)
        fit = max(1, min(COMPILED, CACHE // lane))
        count = min(len(places), -(-len(places) // (fit * workers)) * workers)
    else:
        count = -(-len(places) // STACKED)
    for number in range(count):
        yield places[number * len(places) // count : (number + 1) * len(places) // count]
