"""Checkpoints: nested state as one safetensors file, written whole or not at all, checked when read, never executed.

Tensors are stored as such; everything else (numbers, text, the nesting itself) as JSON in the file's header, with a
SHA-256 over both.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised

from ..mistake import Mistake
from ..run import writing

FORMAT = "steepest 1"


def save(path: Path, state: Any) -> None:
    """Writes nested dicts, lists, numbers, text and tensors to one file: temporary file, fsync, rename."""
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_flatten(state, "", tensors), allow_nan=True)
    digest = sha256(text, tensors)
    with writing(path) as temporary:
        temporary.write_bytes(serialised(tensors, metadata={"format": FORMAT, "state": text, "sha256": digest}))


def load(path: Path) -> Any:
    """What `save` wrote; a torn, damaged or foreign file is a Mistake with one sentence."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise Mistake(f"{path} does not exist") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise Mistake(f"{path} is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        raise Mistake(f"{path} was not written by this version of steepest (format {metadata.get('format')!r})")
    text = metadata.get("state", "")
    if metadata.get("sha256") != sha256(text, tensors):
        raise Mistake(f"{path} is damaged or was changed: its SHA-256 does not match")
    return _nest(json.loads(text), tensors)


def sha256(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():  # one that is empty may have a stride of 0, which has no bytes
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON for a nested value; each tensor goes to `tensors` under its number and path (in plain row-major order)."""
    if isinstance(value, torch.Tensor):
        channels_last = value.dim() == 4 and not value.is_contiguous()
        name = f"{len(tensors)} {path}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name, "channels_last": channels_last}
    if isinstance(value, dict):
        pairs = [[key, _flatten(item, f"{path}.{key}" if path else str(key), tensors)] for key, item in value.items()]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, f"{path}.{place}", tensors) for place, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at {path}")


def _nest(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if value["channels_last"] else tensor
    if "dict" in value:
        return {key: _nest(item, tensors) for key, item in value["dict"]}
    return [_nest(item, tensors) for item in value["list"]]
