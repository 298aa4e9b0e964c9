"""Batch norm compiled for this CPU, in one with the activation behind it: two passes over memory, three backward.

The mean is kept as the sum of two floats and the variance is taken about it, so that neither suffers from a mean far
from 0. Any number of threads gives the same bits.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import fx, nn
from torch.nn import functional as F

from steepest.kernels.activation import NONE, Kind, kind_of, like, torchs
from steepest.kernels.eager import LAST, as_one_call, call, differentiable, has_hooks, serves


@final
class BatchNorm2d(nn.BatchNorm2d):
    """torch.nn.BatchNorm2d, its state_dict and settings; where it knows the activation behind it, it computes that too.

    Its output then says which module has been applied (`activated_by`), and that module passes it on as it is. Where
    either has hooks, and wherever PyTorch's operators serve, each computes its own.
    """

    folds = True  # it may be absorbed into the convolution before it
    followed_by: tuple[nn.Module, ...] = ()
    """The activation that alone takes this norm's output; in a tuple, so that it is no part of this module."""

    def forward(self, input: Any) -> Any:
        if isinstance(input, fx.Proxy):
            return as_one_call(self, input)
        if not self._serves(input):
            return super().forward(input)
        act = next((one for one in self.followed_by if not has_hooks(one, self)), None)
        kind = NONE if act is None else kind_of(act)
        own = self.running_mean, self.running_var
        running = own if self.track_running_stats or not self.training else (None, None)
        settings = (self._share(), self.eps, self.training or own[0] is None, kind)
        y = _Norm.apply(input, self.weight, self.bias, *running, *settings)  # type: ignore[no-untyped-call]
        if act is not None:
            y.activated_by = act
        return y

    def _serves(self, x: torch.Tensor) -> bool:
        tensors = self.weight, self.bias, self.running_mean, self.running_var
        if not serves(x, *tensors) or x.dim() != 4 or x.shape[1] != self.num_features or x.numel() <= x.shape[1]:
            return False
        if (self.running_mean is None) is not (self.running_var is None):
            return False
        if any(one is not None and (not one.is_contiguous() or one.is_inference()) for one in tensors):
            return False
        learns = torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (x, *tensors[:2]))
        in_training = self.training or self.running_mean is None
        return x.is_contiguous(memory_format=LAST) and (in_training or not learns)

    def _share(self) -> float:
        """Counts the batch, and gives the share that its statistics take of the running ones."""
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(self.num_batches_tracked)
        return self.momentum or 0.0


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
    ) -> torch.Tensor:
        channels = x.shape[1]
        y, saved = torch.empty_like(x), x.new_empty(3, channels)
        settings = momentum, eps, training, *kind
        rows = x.numel() // channels
        call("steepest_norm", x, y, rows, channels, weight, bias, mean, variance, saved, *settings)
        if training and mean is not None and variance is not None:
            torch.autograd.graph.increment_version((mean, variance))
        ctx.save_for_backward(x, weight, bias, saved)
        ctx.settings = eps, kind
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, saved = ctx.saved_tensors
        (eps, kind), needs = ctx.settings, ctx.needs_input_grad[:3]
        rest = (None,) * 6
        if torch.is_grad_enabled():

            def plain(*given: Any) -> torch.Tensor:
                return torchs(F.batch_norm(given[0], None, None, given[1], given[2], True, 0.0, eps), kind)

            return *differentiable(plain, [x, weight, bias], needs, gradients[0]), *rest
        dy = like(gradients[0], x)
        d = [torch.empty_like(one) if need else None for one, need in zip((x, weight, bias), needs, strict=True)]
        channels = x.shape[1]
        rows = x.numel() // channels
        call("steepest_norm_backward", x, dy, d[0], rows, channels, weight, bias, saved, *d[1:], *kind)
        return *d, *rest
