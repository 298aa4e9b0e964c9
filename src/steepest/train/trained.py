"""A trained network in a file that stands alone: weights, class names, normalisation, and how to build the network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .. import techniques
from ..mistake import Mistake
from ..recipe import Use
from ..run import Run, writing
from .training import Training, bind, inference, network

FILE = "model.safetensors"


@dataclass(frozen=True)
class About:
    """All but the weights. shape: one input, (C,H,W) or (D,). stored: side of the square that an image is first brought
    to before it is resized to `shape`. mean, std: per channel, in units of [0,1] (points: their own)."""

    model: str
    width: int | None
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    stored: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    infer: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A network in eval mode with what it needs to be used."""

    model: nn.Module
    about: About
    infer: Any = field(repr=False, default=None)

    @torch.no_grad()
    def probabilities(self, images: np.ndarray[Any, Any]) -> torch.Tensor:
        """(N,H,W,C) uint8 images of any square size -> (N,K) float32 class probabilities."""
        return self.infer(self.model, self.normalised(images)).softmax(1)  # type: ignore[no-any-return]

    def normalised(self, images: np.ndarray[Any, Any]) -> torch.Tensor:
        """(N,H,W,C) uint8 -> (N,C,H,W) float32 at the network's resolution, normalised as in training."""
        planes = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        size = list(self.about.shape[1:])
        if list(planes.shape[2:]) != size:
            planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
        mean, std = (torch.tensor(row, dtype=torch.float64).view(-1, 1, 1) for row in (self.about.mean, self.about.std))
        scaled = torch.addcmul((-mean / std).float(), planes.float(), (1 / (255 * std)).float())
        return scaled.contiguous(memory_format=torch.channels_last)


def save(path: Path, training: Training) -> nn.Module:
    """Writes the network that evaluation sees, whole or not at all; gives it."""
    model, recipe, batches = training.finished_model(), training.recipe, training.batches
    mean, std = batches.statistics
    layers = [str(use) for use in recipe.use if techniques.names()[use.name] == "layers"]
    about = About(
        model=str(recipe.model),
        width=recipe.width,
        classes=training.classes,
        shape=training.shape,
        stored=int(batches.split.images.shape[1]),
        mean=tuple(float(x) for x in np.atleast_1d(mean)),
        std=tuple(float(x) for x in np.atleast_1d(std)),
        infer=str(training.inference or ""),
        layers=tuple(layers),
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata={"steepest": json.dumps(asdict(about), ensure_ascii=False)})
    return model


def load(run: Run, device: torch.device | str = "cpu") -> Trained:
    """The trained network of a run."""
    path = run.path / FILE
    if not path.is_file():
        raise Mistake(f"the run {run.path} has no trained network yet: steepest resume {run.path} goes on with it")
    try:
        with safe_open(path, framework="pt") as file:
            fields: dict[str, Any] = json.loads((file.metadata() or {})["steepest"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = About(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})  # type: ignore[arg-type]
        model = network(Use.parse(about.model), about.width, len(about.classes), about.shape, device)
        for layer in about.layers:
            model = bind(Use.parse(layer))(model)
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Mistake(f"{path} is damaged or no network of steepest: {error}") from error
    return Trained(model.eval(), about, inference(Use.parse(about.infer) if about.infer else None))
