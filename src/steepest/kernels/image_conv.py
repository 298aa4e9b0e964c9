"""A frozen first convolution and the activation behind it, compiled for this CPU: images in, activated maps out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from steepest.kernels.activation import Kind, kind_of
from steepest.kernels.conv3x3 import narrows
from steepest.kernels.eager import LAST, NARROW, call, follower, learns, serves

FEW = 16
"""Channels of an image; with more, PyTorch's operators are as fast."""


def convolved(module: nn.Module, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """F.conv2d(x, weight, bias), or that with the module's activation done and marked so, where no gradient is wanted.

    module: has in `followed_by` the activation that alone takes this output, and in `into` the convolutions that alone
    take the activation's. x: (N, C, H, W). weight: (K, C, k, k).
    bias: (K,).
    """
    act = follower(module)
    if act is None or not _fits(x, weight, bias):
        return F.conv2d(x, weight, bias)
    y = image_conv(x, weight, bias, kind_of(act), narrow=narrows(module))
    y.activated_by = act  # type: ignore[attr-defined]
    return y


def _fits(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    if not serves(x, weight, bias) or x.dim() != 4 or not x.numel() or min(x.shape[2:]) < weight.shape[2]:
        return False
    return x.shape[1] == weight.shape[1] <= FEW and not learns(x, weight, bias)


def image_conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, kind: Kind, *, narrow: bool = False
) -> torch.Tensor:
    """(N, C, H, W) -> (N, K, H - k + 1, W - k + 1) in channels_last, for the kernels' tensors; without gradients.

    narrow: gives bfloat16, where `halves` are to be had.
    """
    n, c, h, w = x.shape
    k, _, size, _ = weight.shape
    y = torch.empty((n, k, h - size + 1, w - size + 1), dtype=NARROW if narrow else x.dtype, memory_format=LAST)
    bias = None if bias is None else bias.contiguous()
    call(
        "steepest_image_conv",
        x.contiguous(memory_format=LAST),
        weight.contiguous(),
        bias,
        y,
        narrow,
        n,
        h,
        w,
        c,
        k,
        size,
        *kind,
    )
    return y
