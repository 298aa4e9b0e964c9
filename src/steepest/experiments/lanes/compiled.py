"""Lanes trained by the compiled kernel, one call a span: see kernels/lanes.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ...kernels.library import library, once
from .net import Net, Rule
from .span import Passed, Rows, Span, Stack

SIZE, REAL, AT = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class _Net(ctypes.Structure):
    _fields_ = (
        *((name, SIZE if name != "sizes" else AT) for name in ("layers", "sizes")),
        *((name, SIZE) for name in ("activation", "residual", "norm", "loss", "classes", "dropout")),
        *((name, REAL) for name in ("norm_eps", "norm_momentum", "train_scale", "eval_scale", "smoothing")),
    )


class _Rows(ctypes.Structure):
    _fields_ = (("rows", AT), ("bytes", SIZE), ("count", SIZE), ("scale", AT), ("shift", AT), ("targets", AT))


class _Span(ctypes.Structure):
    _fields_ = (
        *((name, AT) for name in ("order", "masks", "ends")),
        *((name, SIZE) for name in ("first", "steps", "batch")),
    )


class _Lane(ctypes.Structure):
    _fields_ = (
        *((name, AT) for name in ("weights", "first", "second", "running", "rates", "momenta")),
        *((name, REAL) for name in ("lr", "momentum", "weight_decay", "beta2", "eps")),
        ("optimizer", SIZE),
        ("figures", AT),
        ("died", SIZE),
        ("loss", REAL),
    )


def serves() -> bool:
    """Whether the kernel is to be had here."""
    return library() is not None


def padded(units: int) -> int:
    """The columns of a matrix for so many units: whole vectors on every processor."""
    return -(-units // 16) * 16


class Compiled(Stack):
    """A stack of lanes, its `states` the parameters and running statistics of each lane's network."""

    def __init__(
        self, net: Net, rules: Sequence[Rule], states: Sequence[Sequence[torch.Tensor]], rows: Rows, held: Rows | None
    ) -> None:
        self.net, self.rules, self.rows, self.held = net, list(rules), rows, held
        flat = [_packed(net, state) for state in states]
        self.weights, self.running = (torch.stack(part) for part in zip(*flat, strict=True))
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.sizes = (SIZE * len(net.sizes))(*net.sizes)

    def advance(self, span: Span) -> Passed:
        figures = np.zeros((len(self.rules), len(span.ends), 4))
        lanes = (_Lane * len(self.rules))(*(self._lane(place, span, figures) for place in range(len(self.rules))))
        masks = torch.cat([mask.flatten(1) for mask in span.masks], 1).contiguous() if span.masks else None
        ends = (SIZE * (len(span.ends) + 1))(*span.ends, 0)
        described = _Span(_at(span.order), _at(masks), ctypes.addressof(ends), span.first, *span.order.shape)
        parts = _rows(self.rows), _rows(self.held)
        given = (self._net(), described, *parts, lanes)
        if once().steepest_lanes(*map(ctypes.byref, given), len(lanes)):  # type: ignore[union-attr]
            raise MemoryError("no memory for the work of the compiled lanes")
        self.keep([place for place, lane in enumerate(lanes) if lane.died < 0])
        return Passed(figures, [(lane.died, lane.loss) if lane.died >= 0 else None for lane in lanes])

    def _net(self) -> _Net:
        net = self.net
        return _Net(
            len(net.sizes) - 1,
            ctypes.addressof(self.sizes),
            net.activation,
            net.residual,
            net.norm is not None,
            net.smoothing is None,
            net.classes,
            net.kept is not None,
            *(net.norm or (0.0, 0.0)),
            *(net.kept or (1.0, 1.0)),
            net.smoothing or 0.0,
        )

    def _lane(self, place: int, span: Span, figures: Any) -> _Lane:
        one, rates, momenta = self.rules[place], span.rates[place], span.momenta[place]
        return _Lane(
            *(_at(part[place]) for part in (self.weights, self.first, self.second, self.running)),
            rates.ctypes.data,
            None if momenta is None else momenta.ctypes.data,
            *(one.lr, one.momentum, one.weight_decay, one.beta2, one.eps, one.kind),
            figures[place].ctypes.data,
            -1,
            0.0,
        )

    def keep(self, places: Sequence[int]) -> None:
        if len(places) == len(self.rules):
            return
        self.rules = [self.rules[place] for place in places]
        for name in ("weights", "first", "second", "running"):
            setattr(self, name, getattr(self, name)[list(places)].contiguous())

    def state(self, place: int) -> list[torch.Tensor]:
        return list(_unpacked(self.net, self.weights[place], self.running[place]))


def _at(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _rows(part: Rows | None) -> _Rows:
    if part is None:
        return _Rows()
    scale, shift, targets = map(_at, (part.scale, part.shift, part.targets))
    return _Rows(_at(part.rows), part.rows.dtype == torch.uint8, len(part), scale, shift, targets)


def _packed(net: Net, state: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """A lane's parameters and running statistics as the kernel has them: see the head of its source."""
    parts, weights, running = iter(state), [], [torch.zeros(0)]
    for layer, (inputs, units) in enumerate(pairwise(net.sizes)):
        normed = net.norm and layer < len(net.hidden)
        matrix = torch.zeros(inputs + 1 + 2 * bool(normed), padded(units))
        matrix[:inputs, :units] = next(parts).t()
        for row in range(inputs + bool(normed), len(matrix)):
            matrix[row, :units] = next(parts)
        if normed:
            statistics = torch.zeros(2, padded(units))
            statistics[0, :units], statistics[1, :units] = next(parts), next(parts)
            running.append(statistics.flatten())
        weights.append(matrix.flatten())
    return torch.cat(weights), torch.cat(running)


def _unpacked(net: Net, weights: torch.Tensor, running: torch.Tensor) -> Iterator[torch.Tensor]:
    """What `_packed` packed, copied."""
    for layer, (inputs, units) in enumerate(pairwise(net.sizes)):
        normed = net.norm and layer < len(net.hidden)
        matrix, weights = _taken(weights, inputs + 1 + 2 * bool(normed), units)
        yield matrix[:inputs].t().clone(memory_format=torch.contiguous_format)
        yield from matrix[inputs + bool(normed) :].clone()
        if normed:
            statistics, running = _taken(running, 2, units)
            yield from statistics.clone()


def _taken(flat: torch.Tensor, rows: int, units: int) -> tuple[torch.Tensor, torch.Tensor]:
    count = rows * padded(units)
    return flat[:count].view(rows, -1)[:, :units], flat[count:]
