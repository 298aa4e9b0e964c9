"""Max-pooling of 2×2 pixels compiled for this CPU: a byte an output is kept, and each gradient is written once."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import fx, nn

from steepest.kernels.eager import LAST, as_one_call, call, serves


@final
class MaxPool2x2(nn.MaxPool2d):
    """torch.nn.MaxPool2d(2), computed by the compiled kernel wherever that serves.

    It passes on what the convolution before it has pooled.
    """

    def forward(self, input: Any) -> Any:
        if isinstance(input, fx.Proxy):
            return as_one_call(self, input)
        if getattr(input, "pooled_by", None) is self:
            return input.view_as(input)  # another tensor, which does not say so
        maps = fits(self) and serves(input) and input.dim() == 4 and min(input.shape[2:]) >= 2 and input.numel() > 0
        if maps and input.is_contiguous(memory_format=LAST):
            return _Pool.apply(input)  # type: ignore[no-untyped-call]
        return super().forward(input)


def fits(pool: nn.MaxPool2d) -> bool:
    """Whether a pool takes 2×2 pixels, none twice, without padding, and gives the largest alone."""
    two = all(size in (2, (2, 2), [2, 2]) for size in (pool.kernel_size, pool.stride))
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1))
    return two and plain and not pool.ceil_mode and not pool.return_indices


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        y = torch.empty((n, c, h // 2, w // 2), dtype=x.dtype, memory_format=LAST)
        which = torch.empty((n, h // 2, w // 2, c), dtype=torch.uint8)
        call("steepest_pool", x, y, which, n, h, w, c)
        ctx.save_for_backward(which)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (which,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        if torch.is_grad_enabled():
            return (unpooled(gradients[0], which, ctx.shape),)
        dy = gradients[0].resolve_neg().contiguous(memory_format=LAST)
        dx = torch.empty(ctx.shape, dtype=dy.dtype, memory_format=LAST)
        call("steepest_pool_backward", dy, which, dx, n, h, w, c)
        return (dx,)


def unpooled(dy: torch.Tensor, which: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The gradient by PyTorch's operator, which can be differentiated again; of the input it wants the shape alone."""
    one = which.permute(0, 3, 1, 2).long()
    rows = 2 * torch.arange(one.shape[2])[:, None] + one // 2
    columns = 2 * torch.arange(one.shape[3]) + one % 2
    x = dy.new_zeros(()).expand(shape)
    settings = [2, 2], [2, 2], [0, 0], [1, 1], False
    dx: torch.Tensor = torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *settings, rows * shape[3] + columns)
    return dx
