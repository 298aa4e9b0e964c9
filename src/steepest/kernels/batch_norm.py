"""Batch norm compiled for this CPU, in one with the activation behind it: two passes over memory, three backward.

It takes maps of bfloat16 from a convolution in half precision, and gives them to such convolutions alone.
The mean is kept as the sum of two floats and the variance is taken about it, so that neither suffers from a mean far
from 0. Any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import fx, nn
from torch.nn import functional as F

from steepest.kernels.activation import NONE, Kind, kind_of, like, torchs
from steepest.kernels.conv3x3 import Conv3x3, narrows
from steepest.kernels.eager import LAST, NARROW, as_one_call, call, differentiable, follower, learns, serves


@final
class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d, its state_dict and settings; where it knows the activation behind it, it computes that too.

    Its output then says which module has been applied (`activated_by`), and that module passes it on as it is. Where
    either has hooks, and wherever PyTorch's operators serve, each computes its own.
    """

    folds = True  # it may be absorbed into the convolution before it
    followed_by: tuple[nn.Module, ...] = ()
    """The activation that alone takes this norm's output; in a tuple, so that it is no part of this module."""
    into: tuple[Conv3x3, ...] = ()
    """The convolutions that alone take it, or the activation's."""
    out_of: tuple[Conv3x3, ...] = ()
    """The convolution whose output, or whose pool's, this norm takes."""

    def forward(self, input: Any) -> Any:
        if isinstance(input, fx.Proxy):
            return as_one_call(self, input)
        if _serves(self, input):
            return _activated(self, input, [len(input)])
        return super().forward(input.float() if _ours(self, input) else input)


def normalised(module: nn.BatchNorm2d, x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """What the module's class makes of parts of so many images, each by its own statistics, and the activation behind.

    In training the running statistics move towards the average over the parts. No sizes: all images are one part.
    """
    if _serves(module, x):
        return _activated(module, x, sizes or [len(x)])
    y: torch.Tensor = type(module).normalise(module, x, sizes)  # type: ignore[attr-defined]
    return y


def _ours(module: nn.BatchNorm2d, x: torch.Tensor) -> bool:
    """Whether these are maps of bfloat16 from a convolution here: of somebody else's PyTorch makes bfloat16 too."""
    return x.dtype == NARROW and any(one.halves() for one in getattr(module, "out_of", ()))


def _serves(module: nn.BatchNorm2d, x: torch.Tensor) -> bool:
    tensors = module.weight, module.bias, module.running_mean, module.running_var
    served = serves(*tensors, maps=x) if _ours(module, x) else serves(x, *tensors)
    if not served or x.dim() != 4 or x.shape[1] != module.num_features or x.numel() <= x.shape[1]:
        return False
    if (module.running_mean is None) is not (module.running_var is None):
        return False
    if any(one is not None and (not one.is_contiguous() or one.is_inference()) for one in tensors):
        return False
    in_training = module.training or module.running_mean is None
    return x.is_contiguous(memory_format=LAST) and (in_training or not learns(x, *tensors[:2]))


def _activated(module: nn.BatchNorm2d, x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    act = follower(module)
    kind = NONE if act is None else kind_of(act)
    own = module.running_mean, module.running_var
    running = own if module.track_running_stats or not module.training else (None, None)
    narrow = x.dtype == NARROW and narrows(module)
    settings = (_share(module), module.eps, module.training or own[0] is None, kind, sizes, narrow)
    y: torch.Tensor = _Norm.apply(x, module.weight, module.bias, *running, *settings)  # type: ignore[no-untyped-call]
    if act is not None:
        y.activated_by = act  # type: ignore[attr-defined]
    return y


def _share(module: nn.BatchNorm2d) -> float:
    """Counts the batch, and gives the share that its statistics take of the running ones."""
    if module.training and module.track_running_stats and module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if module.momentum is None:
            return 1.0 / float(module.num_batches_tracked)
    return module.momentum or 0.0


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  (what torch.nn.functional.batch_norm takes)
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor | None,
        variance: torch.Tensor | None,
        momentum: float,
        eps: float,
        training: bool,
        kind: Kind,
        sizes: Sequence[int],
        narrow: bool,
    ) -> torch.Tensor:
        channels, parts = x.shape[1], len(sizes)
        saved = torch.empty(parts, 3, channels)
        y = torch.empty_like(x, dtype=NARROW if narrow else torch.float32)
        ctx.halved = int(x.dtype == NARROW) + narrow
        own: tuple[Any, Any] = ([mean] * parts, [variance] * parts)
        if parts > 1 and mean is not None:  # with all of a part's, each row becomes its own statistics
            own = torch.zeros(parts, channels), torch.zeros(parts, channels)
        share = 1.0 if parts > 1 else momentum
        for one, made, kept, *into in zip(x.split(sizes), y.split(sizes), saved, *own, strict=True):
            rows = one.numel() // channels
            given = one, made, ctx.halved, rows, channels, weight, bias, *into, kept, share, eps, training, *kind
            call("steepest_norm", *given)
        if training and mean is not None and variance is not None:
            if parts > 1:
                mean.lerp_(own[0].mean(0), momentum), variance.lerp_(own[1].mean(0), momentum)
            torch.autograd.graph.increment_version((mean, variance))
        ctx.save_for_backward(x, weight, bias, saved)
        ctx.settings = eps, kind, sizes
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, saved = ctx.saved_tensors
        (eps, kind, sizes), needs = ctx.settings, ctx.needs_input_grad[:3]
        rest = (None,) * 8
        if torch.is_grad_enabled():

            def plain(*given: Any) -> torch.Tensor:
                parts = given[0].split(sizes)
                made = [F.batch_norm(one, None, None, given[1], given[2], True, 0.0, eps) for one in parts]
                return torchs(torch.cat(made), kind)

            dx, *others = differentiable(plain, [x.float(), weight, bias], needs, gradients[0].float())
            return None if dx is None else dx.to(x.dtype), *others, *rest
        dy, channels = like(gradients[0], x), x.shape[1]
        dx = torch.empty_like(x) if needs[0] else None
        each = [saved.new_empty(len(sizes), channels) if need else None for need in needs[1:]]
        pieces: list[Any] = [[None] * len(sizes) if one is None else one for one in each]
        into = [None] * len(sizes) if dx is None else dx.split(sizes)
        for one, dy_one, dx_one, kept, *d in zip(x.split(sizes), dy.split(sizes), into, saved, *pieces, strict=True):
            rows = one.numel() // channels
            given = one, dy_one, dx_one, ctx.halved, rows, channels, weight, bias, kept, *d, *kind
            call("steepest_norm_backward", *given)
        return dx, *(None if one is None else one.sum(0) for one in each), *rest
