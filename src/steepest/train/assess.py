"""What a trained network is worth on some data: accuracy with its interval, by class, and its worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .. import data as data_room
from ..data.dataset import Dataset, Indices, Split
from ..mistake import Mistake, unknown
from ..run import Run
from ..stats import wilson
from .build import rows
from .evaluate import Scores, evaluate, scores
from .request import Request
from .trained import Trained, load

SPLITS = ("test", "val", "train", "all")
Part = tuple[str, Split, Indices]


@dataclass(frozen=True)
class Assessment:
    """The scores of a run's network on parts of a data set; the rows of the scores are those of the parts in order."""

    run: Path
    data: str
    split: str
    classes: tuple[str, ...]
    scores: Scores
    parts: tuple[Part, ...]

    def as_dict(self, most: int = 20) -> dict[str, Any]:
        """Plain data, ready for JSON: what ``evaluate --json`` prints. low, high: 95 % Wilson interval of accuracy.

        most: how many mistakes. Each tells the split and row of the data set that it is of, and its file if it has one.
        """
        found, head = self.scores, {"run": str(self.run), "data": self.data, "split": self.split}
        figures: dict[str, Any] = {"n": found.n, "loss": found.loss, "accuracy": found.accuracy}
        if not self.classes:
            return head | figures
        low, high = wilson(found.correct, found.n)
        names = [(name, int(row), part.files) for name, part, index in self.parts for row in index]
        mistakes = [
            {
                "split": names[row][0],
                "row": names[row][1],
                "file": names[row][2][names[row][1]] if names[row][2] else None,
                "true": self.classes[int(found.targets[row])],
                "predicted": self.classes[predicted],
                "probability": probability,
            }
            for row, predicted, probability in found.mistakes(most)
        ]
        table = [{"name": name} | figures for name, figures in zip(self.classes, found.per_class(), strict=True)]
        figures |= {"low": low, "high": high, "classes": table}
        return head | figures | {"confusion": found.confusion().tolist(), "mistakes": mistakes}


def assess(
    run: Run | Path | str,
    data: str | None = None,
    *,
    split: str = "test",
    data_dir: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> Assessment:
    """The scores of a run's network on its own data, or on other data that have (some of) the same classes.

    split: "test"; "val" and "train" as the run's recipe and seed part them; "all" for every image there is. Raises
    Mistake for data that do not fit the network, and for the run's own data where they changed since.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    trained, request = load(run, device), _request(run)
    own = data is None or data == request.data
    place = data_dir or (Path(request.data_dir) if request.data_dir else None)
    stored = trained.about.stored
    size = None if own or not 8 <= stored <= 1024 else stored
    dataset = data_room.load(data or request.data, data_dir=place, progress=progress, size=size)
    if own and dataset.fingerprint != run.read("data.json").get("fingerprint"):
        raise Mistake(f"the data {request.data} are not those that the run {run.path} was trained on")
    parts = tuple((name, _matched(part, dataset, trained), index) for name, part, index in _parts(dataset, run, split))
    loss = F.cross_entropy if trained.about.classes else F.mse_loss
    found = [evaluate(trained.model, trained.batches(part, index), trained.infer, loss) for _, part, index in parts]
    whole = scores(torch.cat([one.logits for one in found]), torch.cat([one.targets for one in found]), loss)
    return Assessment(run.path, dataset.name, split, trained.about.classes, whole, parts)


def _request(run: Run) -> Request:
    try:
        return Request(**run.read("run.json")["request"])
    except (KeyError, TypeError) as error:
        raise Mistake(f"{run.path / 'run.json'} is damaged: {error}") from error


def _parts(dataset: Dataset, run: Run, split: str) -> list[Part]:
    """The rows that are asked for."""
    if split in ("test", "all"):
        named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
        wanted = named if split == "all" else {"test": dataset.test}
        found = [(name, part, np.arange(len(part))) for name, part in wanted.items() if part is not None]
    else:
        train, val = rows(dataset, run.recipe, _request(run).seed)
        chosen = train if split == "train" else val
        found = [] if chosen is None else [("train" if chosen[0] is dataset.train else "val", *chosen)]
    if not found:
        raise Mistake(f"there is no {split} split of {dataset.name} in the run {run.path}")
    return found


def _matched(part: Split, dataset: Dataset, trained: Trained) -> Split:
    """The rows with the network's class indices: classes are matched by their names."""
    known = trained.about.classes
    if bool(dataset.classes) is not bool(known):
        kinds = ("a regression", "a classification")
        raise Mistake(f"{dataset.name} is {kinds[bool(dataset.classes)]}, the network {kinds[bool(known)]}")
    if dataset.classes == known:
        return part
    labels = {name: label for label, name in enumerate(known)}
    if strange := [name for name in dataset.classes if name not in labels]:
        raise Mistake(
            f"{dataset.name} has classes that the network does not know: {_few(strange)}; it knows {_few(known)}"
        )
    return replace(part, targets=np.array([labels[name] for name in dataset.classes])[part.targets])


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:10], *(["…"] if len(names) > 10 else [])])
