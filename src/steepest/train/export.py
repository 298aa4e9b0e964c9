"""Export: a trained network as one file for other programs, checked against the network before it is kept.

ONNX and TorchScript files stand alone. Input: `images`, float32 (N,C,H,W) in [0,1] at the network's own size, for any
N (or `points`, float32 (N,D)); the normalisation and the averaging over views, where the recipe has one, are inside.
Output: `probabilities` (N,K), or `values` (N,1) for a regression. `contract` says so in the file itself.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..mistake import Failure, Mistake, unknown
from ..run import Run, writing
from .about import About
from .trained import FILE, Trained, load

FILES = {"onnx": "model.onnx", "torchscript": "model.pt", "safetensors": FILE}
"""The forms, each with the name of its file."""
TOLERANCE = 1e-4
"""How far an output may be from the network's own, absolutely, and relatively where it is above 1."""
OPSET = 17


class Standalone(nn.Module):
    """A trained network with what stands before and after it: float inputs as in `contract` -> probabilities (N,K)."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network, self.infer = trained.model, trained.infer
        self.classify = bool(trained.about.classes)
        mean, std = (
            torch.tensor(row, dtype=torch.float64).view(-1, *[1] * (len(trained.about.shape) - 1))
            for row in (trained.about.mean, trained.about.std)
        )
        self.register_buffer("scale", (1 / std).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = self.infer(self.network, inputs * self.scale + self.shift)
        return logits.softmax(1) if self.classify else logits


def contract(about: About) -> dict[str, Any]:
    """What goes in and what comes out of an exported file, as plain data; the file carries it as JSON."""
    said: dict[str, Any] = {
        "input": {"name": "images" if about.pictures else "points", "dtype": "float32", "shape": ["N", *about.shape]},
        "output": {"name": "probabilities" if about.classes else "values", "shape": ["N", max(1, len(about.classes))]},
        "classes": list(about.classes),
    }
    if about.pictures:
        said["input"]["range"] = [0, 1]
        said["prepare"] = (
            f"resize the short side to {about.stored} pixels (bicubic, antialiased), cut out the centre square, "
            f"resize it to {about.shape[1]}×{about.shape[2]} (bilinear, antialiased) where that differs, divide by 255"
        )
    return said


def export(run: Run | Path | str, to: str, out: Path | str | None = None) -> Path:
    """Writes a run's trained network (or a model file's) in a form of `FILES`, whole or not at all; gives its place.

    out: a file, or a folder to put it into; by default beside the trained network. Raises Mistake for an unknown form,
    a place that cannot be written and a missing package, Failure where the file does not compute what the network does.
    """
    if to not in FILES:
        raise unknown("form to export to", to, FILES)
    if to == "onnx" and any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        raise Mistake("the export to ONNX needs the packages onnx and onnxruntime: pip install 'steepest[export]'")
    trained = load(run)
    place = trained.path.with_name(FILES[to]) if out is None else Path(out)
    place = place / FILES[to] if place.is_dir() else place
    if not place.parent.is_dir() or not os.access(place.parent, os.W_OK):
        raise Mistake(f"cannot write {place}: {place.parent} is not a folder that can be written")
    if place.resolve() == trained.path.resolve():
        if to != "safetensors":
            raise Mistake(f"{place} is the trained network itself: give another --out")
        return place
    content = FORMS[to](trained)
    with writing(place) as temporary:
        temporary.write_bytes(content)
    return place


def _safetensors(trained: Trained) -> bytes:
    return trained.path.read_bytes()


def _onnx(trained: Trained) -> bytes:
    import onnx
    import onnxruntime

    said, buffer = contract(trained.about), io.BytesIO()
    into, out = said["input"]["name"], said["output"]["name"]
    with warnings.catch_warnings():
        # PyTorch's older exporter: the newer one needs onnxscript besides
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # it leaves a part as it is
        torch.onnx.export(
            Standalone(trained).eval(),
            (_samples(trained.about, 2),),
            buffer,  # type: ignore[arg-type]  # PyTorch takes it, but its signature does not say so
            dynamo=False,
            opset_version=OPSET,
            input_names=[into],
            output_names=[out],
            dynamic_axes={into: {0: "N"}, out: {0: "N"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in said.items()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    _check(trained, lambda inputs: session.run([out], {into: inputs.numpy()})[0])
    return content


def _torchscript(trained: Trained) -> bytes:
    buffer, extra = io.BytesIO(), {"steepest.json": json.dumps(contract(trained.about))}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Standalone(trained).eval(), _samples(trained.about, 2), check_trace=False)
        torch.jit.save(traced, buffer, _extra_files=extra)
        buffer.seek(0)
        written = torch.jit.load(buffer)
        _check(trained, lambda inputs: written(inputs).numpy())
    return buffer.getvalue()


FORMS: dict[str, Callable[[Trained], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "safetensors": _safetensors,
}


def _samples(about: About, count: int) -> torch.Tensor:
    """Inputs that lie where real ones do: uniform in [0,1], or points about their mean."""
    generator = torch.Generator().manual_seed(count)
    if about.pictures:
        return torch.rand(count, *about.shape, generator=generator)
    return torch.randn(count, *about.shape, generator=generator) * torch.tensor(about.std) + torch.tensor(about.mean)


def _check(trained: Trained, written: Callable[[torch.Tensor], Any]) -> None:
    """Raises Failure unless a written file gives what the network gives, for batches of several sizes."""
    plain = Standalone(trained).eval()
    for count in (1, 3, 8):
        inputs = _samples(trained.about, count)
        with torch.no_grad():
            wanted = plain(inputs).numpy()
        if not np.allclose(written(inputs), wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise Failure("the exported file does not compute what the network does: it was not kept")
