"""A 3×3 convolution of stride 1 that is compiled for this CPU, forward and backward, in the place of PyTorch's.

It serves float32 on the CPU with padding 0 or 1, one group, no dilation; for all else, and wherever the compiled part
is not to be had, PyTorch's own convolution is called. Maps are best in channels_last, others are copied. Winograd's
method is off the exact sum by about 1e-6 to 2e-5 of the largest output, where PyTorch's is by about 1e-6, and an
infinity or nan spreads over its tile (up to 6 pixels further). The same input on as many threads gives the same bits.
Transforms and products may be of half precision, each tensor scaled by a power of two for it; the maps are then
bfloat16. Between such a convolution and the norm behind it, or before it, they stay so.

A max-pool of 2×2 right behind a convolution is computed with it, and what it does not take is not computed at all.
"""

from __future__ import annotations

import ctypes
from typing import Any, TypeVar, final

import torch
from torch import fx, nn
from torch.nn import functional as F

from steepest.kernels import eager, max_pool
from steepest.kernels.eager import LAST, NARROW, as_one_call, call, has_hooks, serves, watched
from steepest.mistake import Mistake

M = TypeVar("M", bound=nn.Module)


def conv3x3(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    padding: int = 1,
    *,
    pool: bool = False,
    half: bool = False,
) -> torch.Tensor:
    """x (N, C, H, W), weight (K, C, 3, 3), bias (K,) -> (N, K, H + 2·padding - 2, W + 2·padding - 2).

    padding: 0 or 1; without it the maps have at least 3×3 pixels. pool: the largest of each 2×2 pixels of that, with
    sides half as long, of at least 1. half: in half precision, where `halves` has it: the output is then off by 0.2 to
    3 % of its mean size. x may be of bfloat16 and the weight of float32; what comes out is what x is. N may be 0.
    Differentiable any number of times: what is differentiated again is computed by PyTorch's operators. Raises Mistake
    for other shapes.
    """
    _check(x, weight, bias, padding, 2 if pool else 1)
    half = half and halves(x.shape[1], weight.shape[0])
    served = serves(weight, bias, maps=x) and 0 not in (*x.shape[1:], *weight.shape)
    if x.dtype == NARROW != weight.dtype and not (served and half) and not watched():
        return conv3x3(x.to(weight.dtype), weight, bias, padding, pool=pool).to(NARROW)
    if not served:
        y = F.conv2d(x, weight, bias, padding=padding)
        return F.max_pool2d(y, 2) if pool else y
    if half and not (weight.is_contiguous() or weight.is_contiguous(memory_format=LAST)):
        weight = weight.contiguous()
    maps: torch.Tensor = _Conv.apply(x, weight, bias, padding, pool, half)  # type: ignore[no-untyped-call]
    return maps


@final
class Conv3x3(nn.Conv2d):
    """torch.nn.Conv2d, its state_dict and settings, computed by `conv3x3` wherever that serves.

    Where it knows the pool behind it, it computes that too: its output then says which module has been applied
    (`pooled_by`), and that module passes it on as it is. Where either has hooks, and wherever PyTorch's operators
    serve, each computes its own.
    """

    folds = True  # what stands behind it may be absorbed into its weights
    half_products = False
    """Whether it multiplies in half precision while it is trained, where that is to be had."""
    followed_by: tuple[nn.MaxPool2d, ...] = ()
    """The pool that alone takes this convolution's output; in a tuple, so that it is no part of this module."""
    into: tuple[nn.Module, ...] = ()
    """The norm that alone takes it, or the pool's, and takes bfloat16."""

    def forward(self, input: Any) -> Any:
        if isinstance(input, fx.Proxy):
            return as_one_call(self, input)
        pool = next((one for one in self.followed_by if max_pool.fits(one) and not has_hooks(one, self)), None)
        # The smallest maps are left to each by itself, so that each says what is wrong with them.
        if pool is None or not self._serves(input, 4) or not serves(self.weight, self.bias, maps=input):
            return super().forward(input)
        y = self._maps(input, self.weight, self.bias, pool=True)
        y.pooled_by = pool  # type: ignore[attr-defined]
        return y

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self._serves(input, 3):
            return self._maps(input, weight, bias)
        widened = input.dtype == NARROW and not watched()
        y: torch.Tensor = super()._conv_forward(input.to(weight.dtype) if widened else input, weight, bias)
        return y

    def _maps(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, pool: bool = False
    ) -> torch.Tensor:
        half = self.halves()
        narrow = half and bool(self.into)
        y = conv3x3(x.to(NARROW) if narrow else x, weight, bias, _padding(self), pool=pool, half=half)
        return y if narrow else y.to(weight.dtype)

    def halves(self) -> bool:
        """Whether it multiplies in half precision now, and so is best given maps of bfloat16."""
        wanted = self.half_products and self.training and not watched()
        # Of a parametrized weight the parameter: the weight itself would be computed anew.
        wide = wanted and next(self.parameters()).dtype == torch.float32
        return wide and halves(self.in_channels, self.out_channels)

    def _serves(self, x: torch.Tensor, least: int) -> bool:
        known = not watched() and x.dim() == 4 and x.shape[1] == self.in_channels
        return known and fits(self) and min(x.shape[2:]) >= least


def apply(model: M) -> M:
    """The same network, each of its nn.Conv2d that `fits` now a Conv3x3, in place.

    The modules stay the same objects: their parameters, hooks and state are untouched. Classes of its own that derive
    from nn.Conv2d are left alone. A network without such a convolution stays as it is.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and fits(module):
            module.__class__ = Conv3x3
    return model


def narrows(module: nn.Module) -> bool:
    """Whether what a module gives goes into convolutions alone that are best given maps of bfloat16 now."""
    into: tuple[Conv3x3, ...] = getattr(module, "into", ())
    return bool(into) and all(one.halves() for one in into)


def halves(c: int, k: int) -> bool:
    """Whether the products of so many channels and filters can be computed in half precision on this processor."""
    return c % 2 == k % 2 == 0 and eager.halves()


def fits(conv: nn.Conv2d) -> bool:
    """Whether a convolution is 3×3 with stride 1, dilation 1, one group, and zeros as padding, 0 or 1 on each side."""
    simple = conv.stride == conv.dilation == (1, 1) and conv.groups == 1 and conv.padding_mode == "zeros"
    return conv.kernel_size == (3, 3) and simple and conv.padding in ((0, 0), (1, 1), "valid", "same")


def _padding(conv: nn.Conv2d) -> int:
    return 1 if conv.padding in ((1, 1), "same") else 0


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: int, outputs: int) -> None:
    if padding not in (0, 1):
        raise Mistake(f"the padding of a 3×3 convolution is 0 or 1, not {padding!r}")
    if x.dim() != 4 or weight.dim() != 4 or weight.shape[1:] != (x.shape[1], 3, 3):
        shapes = f"{tuple(x.shape)} and {tuple(weight.shape)}"
        raise Mistake(f"a 3×3 convolution takes maps (N, C, H, W) and weights (K, C, 3, 3), not {shapes}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise Mistake(
            f"the bias of {weight.shape[0]} filters has the shape ({weight.shape[0]},), not {tuple(bias.shape)}"
        )
    least = outputs + 2 - 2 * padding
    if min(x.shape[2:]) < least:
        size = f"{x.shape[2]}×{x.shape[3]}"
        raise Mistake(f"a 3×3 convolution with padding {padding} takes maps of {least}×{least} and more, not {size}")


class _Conv(torch.autograd.Function):
    """Keeps the input where the weights take a gradient, and the weights where the input does; a pool's choice."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: int, pool: bool, half: bool
    ) -> torch.Tensor:
        into_x, into_weight = ctx.needs_input_grad[:2]
        ctx.kind = x.dtype
        x = x.to(NARROW) if half else x
        y, which = _forward(x, weight, bias, padding, pool=pool, chosen=any(ctx.needs_input_grad), half=half)
        ctx.save_for_backward(x if into_weight else None, weight if into_x else None, which)
        ctx.shapes = x.shape, weight.shape
        ctx.strides = weight.stride()
        ctx.padding = padding
        ctx.half = half
        y = y if x.is_contiguous(memory_format=LAST) or weight.is_contiguous(memory_format=LAST) else y.contiguous()
        return y.to(ctx.kind)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dy = gradients[0].resolve_neg()
        x, weight, which = ctx.saved_tensors
        needs, shapes, padding = ctx.needs_input_grad, ctx.shapes, ctx.padding
        if torch.is_grad_enabled():
            dy, x = dy.float(), None if x is None else x.float()
            if which is not None:
                sides = [side + 2 * padding - 2 for side in shapes[0][2:]]
                dy = max_pool.unpooled(
                    dy, _unpacked(which, dy.shape[1]), torch.Size([shapes[0][0], shapes[1][0], *sides])
                )
            dx, *others = _differentiable(dy, x, weight, shapes, padding, needs[:3])
            return None if dx is None else dx.to(ctx.kind), *others, None, None, None
        dy = _maps(dy, ctx.half)
        dx = _input_gradient(dy, weight, shapes[0], padding, which, half=ctx.half) if needs[0] else None
        dw = _weight_gradient(x, dy, shapes[1], ctx.strides, padding, which, half=ctx.half) if needs[1] else None
        d_bias = dy.sum((0, 2, 3), dtype=torch.float32) if needs[2] else None
        return None if dx is None else dx.to(ctx.kind), dw, d_bias, None, None, None


def _differentiable(
    dy: torch.Tensor,
    x: torch.Tensor | None,
    weight: torch.Tensor | None,
    shapes: tuple[torch.Size, torch.Size],
    padding: int,
    needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, ...]:
    """The gradients by PyTorch's operator, which can be differentiated again. A tensor not needed need not be there."""
    nothing = dy.new_zeros(())
    x = nothing.expand(shapes[0]) if x is None else x
    weight = nothing.expand(shapes[1]) if weight is None else weight
    ones, sides = [1, 1], [padding, padding]
    settings = [shapes[1][0]], ones, sides, ones, False, [0, 0], 1
    given: tuple[torch.Tensor | None, ...] = torch.ops.aten.convolution_backward(dy, x, weight, *settings, list(needs))
    return given


def _forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: int,
    *,
    pool: bool = False,
    chosen: bool = False,
    tile: int = 0,
    half: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The convolution, or its pool and, where that is asked for, which of four pixels each number is: two bits each."""
    x = _maps(x, half)
    n, c, h, w = x.shape
    k = weight.shape[0]
    sides = [(side + 2 * padding - 2) // (2 if pool else 1) for side in (h, w)]
    y = torch.empty((n, k, *sides), dtype=x.dtype, memory_format=LAST)
    which = torch.empty((n, *sides, -(-k // 16)), dtype=torch.int32) if pool and chosen else None
    bias = None if bias is None else bias.contiguous()
    _call("conv", half, y, x, weight, bias, y, which, n, h, w, c, k, _four(weight.stride()), padding, pool, tile)
    return y, which


def _input_gradient(
    dy: torch.Tensor,
    weight: torch.Tensor,
    shape: torch.Size,
    padding: int,
    which: torch.Tensor | None = None,
    tile: int = 0,
    half: bool = False,
) -> torch.Tensor:
    dy = _maps(dy, half)
    n, c, h, w = shape
    dx = torch.empty(shape, dtype=dy.dtype, memory_format=LAST)
    k = weight.shape[0]
    _call("input_gradient", half, dx, dy, which, weight, dx, n, h, w, c, k, _four(weight.stride()), padding, tile)
    return dx


def _weight_gradient(
    x: torch.Tensor,
    dy: torch.Tensor,
    shape: torch.Size,
    strides: tuple[int, ...],
    padding: int,
    which: torch.Tensor | None = None,
    tile: int = 0,
    half: bool = False,
) -> torch.Tensor:
    x, dy = _maps(x, half), _maps(dy, half)
    n, c, h, w = x.shape
    dw = torch.empty(shape, dtype=torch.float32, memory_format=LAST if strides[1] == 1 else torch.contiguous_format)
    _call("weight_gradient", half, dw, x, dy, which, dw, n, h, w, c, shape[0], _four(dw.stride()), padding, tile)
    return dw


def _maps(x: torch.Tensor, half: bool) -> torch.Tensor:
    """As a kernel takes them."""
    return (x.to(NARROW) if half else x).contiguous(memory_format=LAST)


def _call(function: str, half: bool, made: torch.Tensor, *given: Any) -> None:
    """In half precision where that is wanted and suffices for the numbers, else in float32. made: what is written."""
    if half and call(f"steepest_half_{function}", *given):
        return
    wide = [one.float() if isinstance(one, torch.Tensor) and one.dtype == NARROW else one for one in given]
    call(f"steepest_{function}", *wide)
    for one, other in zip(given, wide, strict=True):
        if one is made and other is not one:
            made.copy_(other)


def _unpacked(which: torch.Tensor, channels: int) -> torch.Tensor:
    """As bytes, (N, H, W, channels)."""
    pairs = which[..., None] >> torch.arange(0, 32, 2) & 3
    return pairs.flatten(3)[..., :channels].to(torch.uint8)


def _four(strides: tuple[int, ...]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * 4)(*strides)
