"""Activations compiled for this CPU: GELU and its like in one pass, forward and backward.

Each value is off by less than 1e-6 of the largest of 1, itself and its argument.
"""

from __future__ import annotations

from typing import Any, TypeAlias, final

import torch
from torch import fx, nn
from torch.nn import functional as F

from steepest.kernels.eager import LAST, as_one_call, call, differentiable, serves

Kind: TypeAlias = tuple[int, float]
"""What the compiled part calls an activation: its number, and its setting."""
NONE: Kind = (0, 0.0)


def kind_of(module: nn.Module) -> Kind:
    """Raises KeyError for a module whose class is not one of `KINDS`."""
    number = KINDS[type(module)]
    if isinstance(module, nn.GELU):
        return number + (module.approximate == "tanh"), 0.0
    if isinstance(module, nn.LeakyReLU):
        return number, float(module.negative_slope)
    return number, float(module.alpha) if isinstance(module, nn.CELU) else 0.0


def torchs(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    """The same by PyTorch's operators."""
    number, setting = kind
    functions = (
        lambda: x,
        lambda: F.relu(x),
        lambda: F.leaky_relu(x, setting),
        lambda: F.gelu(x),
        lambda: F.gelu(x, approximate="tanh"),
        lambda: F.silu(x),
        lambda: F.celu(x, setting),
    )
    return functions[number]()


def activate(x: torch.Tensor, kind: Kind) -> torch.Tensor:
    """The activation of x, which is contiguous or in channels_last and served; differentiable any number of times."""
    y: torch.Tensor = _Activate.apply(x, kind)  # type: ignore[no-untyped-call]
    return y


def dense(x: torch.Tensor) -> bool:
    """Whether x has numbers, and they lie next to each other in memory, in an order that a new tensor takes over."""
    return x.numel() > 0 and (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=LAST)))


class _Activation(nn.Module):
    """Passes on what the norm before it has activated in the same pass; the rest it activates itself."""

    def forward(self, input: Any) -> Any:
        if isinstance(input, fx.Proxy):
            return as_one_call(self, input)
        if getattr(input, "activated_by", None) is self:
            return input.view_as(input)  # another tensor, which does not say so
        if ALONE[type(self)] and not getattr(self, "inplace", False) and serves(input) and dense(input):
            return activate(input, kind_of(self))
        return super().forward(input)


@final
class ReLU(_Activation, nn.ReLU):
    """torch.nn.ReLU."""


@final
class LeakyReLU(_Activation, nn.LeakyReLU):
    """torch.nn.LeakyReLU."""


@final
class GELU(_Activation, nn.GELU):
    """torch.nn.GELU."""


@final
class SiLU(_Activation, nn.SiLU):
    """torch.nn.SiLU."""


@final
class CELU(_Activation, nn.CELU):
    """torch.nn.CELU."""


OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU: ReLU,
    nn.LeakyReLU: LeakyReLU,
    nn.GELU: GELU,
    nn.SiLU: SiLU,
    nn.CELU: CELU,
}
KINDS: dict[type[nn.Module], int] = {ReLU: 1, LeakyReLU: 2, GELU: 3, SiLU: 5, CELU: 6}
ALONE: dict[type[nn.Module], bool] = {ReLU: False, LeakyReLU: False, GELU: True, SiLU: True, CELU: True}
"""Which are computed here where no norm does it: those that take fewer seconds so."""


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kind: Kind) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.kind = kind
        y = torch.empty_like(x)
        call("steepest_activation", x, y, x.numel(), *kind)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*differentiable(lambda one: torchs(one, ctx.kind), [x], [True], gradients[0]), None)
        dy, dx = like(gradients[0], x), torch.empty_like(x)
        call("steepest_activation_backward", x, dy, dx, x.numel(), *ctx.kind)
        return dx, None


def like(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A gradient with its numbers in the order of x."""
    dy = dy.resolve_neg()
    return dy if dy.stride() == x.stride() else torch.empty_like(x, dtype=dy.dtype).copy_(dy)
