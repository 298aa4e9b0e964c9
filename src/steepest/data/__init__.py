"""Data: the known sets, image folders and record files, all as one `Dataset` of splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steepest.data.dataset import Dataset, Split, stratified
    from steepest.data.describe import catalogue, fetch, info
    from steepest.data.images import decode
    from steepest.data.records import Records, Writer
    from steepest.data.sources import load

NAMES = (
    "digits",
    "fashion_mnist",
    "mnist",
    "cifar10",
    "cifar100",
    "synthetic",
    "circles",
    "xor",
    "gauss",
    "spiral",
    "moons",
    "reg_plane",
    "reg_gauss",
)

_HOMES = {
    "Dataset": "dataset",
    "Records": "records",
    "Split": "dataset",
    "Writer": "records",
    "catalogue": "describe",
    "decode": "images",
    "fetch": "describe",
    "info": "describe",
    "load": "sources",
    "stratified": "dataset",
}

__all__ = [
    "NAMES",
    "Dataset",
    "Records",
    "Split",
    "Writer",
    "catalogue",
    "decode",
    "fetch",
    "info",
    "load",
    "stratified",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
