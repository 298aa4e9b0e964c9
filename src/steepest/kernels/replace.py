"""Gives the pools, norms and activations of a network the classes that the compiled kernels compute.

A norm learns of the activation behind it, as does a module that lets others `convolve` or `normalise` for it, and a
compiled convolution of its pool; and each of the convolutions, or the norm, that take what comes out then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import fx, nn

from steepest.kernels import batch_norm, image_conv
from steepest.kernels.activation import OURS
from steepest.kernels.batch_norm import BatchNorm2d
from steepest.kernels.conv3x3 import Conv3x3
from steepest.kernels.max_pool import MaxPool2x2, fits

M = TypeVar("M", bound=nn.Module)

HOOKS: dict[str, Callable[..., torch.Tensor]] = {
    "convolve": image_conv.convolved,
    "normalise": batch_norm.normalised,
}
"""Functions that classes of other rooms let one set, and ours, which also activate what comes out."""


def apply(model: M) -> M:
    """The same network, its pools, norms and activations computed by the kernels, in place.

    A norm without an activation behind it stays PyTorch's, which takes as few seconds.
    """
    followed, led = neighbours(model)
    for module in model.modules():
        if type(module) is nn.MaxPool2d and fits(module):
            module.__class__ = MaxPool2x2
        elif ours := compiled(module):
            module.__class__ = ours
    for one, other in followed:
        if type(one) is nn.BatchNorm2d:
            one.__class__ = BatchNorm2d
        for name, function in HOOKS.items():
            if hasattr(type(one), name):
                setattr(one, name, function)
        one.followed_by = (other,)  # type: ignore[assignment]
    for one, others in led:
        kinds = {type(other) for other in others}
        if type(one) is Conv3x3 and kinds == {BatchNorm2d}:
            one.into, others[0].out_of = others, (one,)  # type: ignore[assignment]
        elif type(one) is not Conv3x3 and kinds == {Conv3x3}:
            one.into = others  # type: ignore[assignment]
    return model


def compiled(module: nn.Module) -> type[nn.Module] | None:
    """The class of ours for an activation that is torch's, or derives from it without computing anything else."""
    same = (kind for kind in OURS if isinstance(module, kind) and type(module).__call__ is kind.__call__)
    return next((OURS[kind] for kind in same if type(module).forward is kind.forward), None)


def neighbours(
    model: nn.Module,
) -> tuple[list[tuple[nn.Module, nn.Module]], list[tuple[nn.Module, tuple[nn.Module, ...]]]]:
    """The norms and the like whose output an activation takes and nobody else, each with it; convolutions and pools so.
    Then norms and the like, and convolutions, each with the modules that alone take its output, or its follower's.

    This is read from the network's graph, in training and in evaluation; one that has none has no neighbours.
    """
    modules = dict(model.named_modules())
    kinds = {type(module) for module in modules.values()}
    if not any(map(_activates, modules.values())) and not {Conv3x3, nn.MaxPool2d} <= kinds:
        return [], []  # nothing to read a graph for
    (followed, led), (too, led_too) = (_neighbours(model, training=training) for training in (True, False))
    return (
        [(modules[one], modules[other]) for one, other in sorted(followed & too)],
        [(modules[one], tuple(map(modules.__getitem__, others))) for one, others in sorted(led & led_too)],
    )


def _neighbours(model: nn.Module, training: bool) -> tuple[set[tuple[str, str]], set[tuple[str, tuple[str, ...]]]]:
    copied = copy.deepcopy(model).train(training)
    try:
        with torch.random.fork_rng(devices=[]):
            nodes = [node for node in _Tracer().trace(copied).nodes if node.op == "call_module"]
    except Exception:  # whatever a module of anybody's raises, given no tensor
        return set(), set()
    modules = dict(copied.named_modules())
    calls = [str(node.target) for node in nodes]

    followed, led = set(), set()
    for node in nodes:
        name, ends = str(node.target), _takers(node)
        if calls.count(name) > 1 or not (type(modules[name]) is Conv3x3 or _activates(modules[name])):
            continue
        if len(ends) == 1 and _fit(modules[name], modules[str(ends[0].target)]):
            followed.add((name, str(ends[0].target)))
            ends = _takers(ends[0])
        led.add((name, tuple(str(one.target) for one in ends)))
    return followed, led


def _fit(one: nn.Module, other: nn.Module) -> bool:
    if _activates(one):
        return compiled(other) is not None
    return type(one) is Conv3x3 and type(other) is nn.MaxPool2d and fits(other)


def _activates(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d or any(hasattr(type(module), name) for name in HOOKS)


def _takers(node: fx.Node) -> list[fx.Node]:
    """The calls that take its output, if all are of modules, with nothing else."""
    found = list(node.users)
    return found if all(one.op == "call_module" and len(one.args) == 1 and not one.kwargs for one in found) else []


class _Tracer(fx.Tracer):
    """Reads the order in which modules without parts and torch's own are called."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        alone = next(m.children(), None) is None and not isinstance(m, nn.Sequential)
        return alone or super().is_leaf_module(m, module_qualified_name)
