"""Compiled kernels for CPUs, in the place of PyTorch's operators, which serve wherever the compiled ones do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

M = TypeVar("M", bound="nn.Module")


def apply(model: M) -> M:
    """The same network, each of its modules that a kernel computes now of a class that calls it, in place.

    The modules stay the same objects: their parameters, hooks and state are untouched; classes that are not torch.nn's
    own are left alone. A batch norm that an activation directly follows gives that activation's output when called on
    its own, and a convolution that a pool directly follows gives the pool's.
    """
    from . import conv3x3, replace  # they load torch

    return replace.apply(conv3x3.apply(model))


def kind() -> str:
    """What computes on this machine's CPU: `compiled, with half precision`, `compiled`, or `PyTorch's`."""
    from .eager import halves
    from .library import library

    return f"compiled{', with half precision' if halves() else ''}" if library() else "PyTorch's"
