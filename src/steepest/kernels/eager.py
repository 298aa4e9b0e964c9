"""When a compiled kernel may take the place of PyTorch's operators, and what all kernels' modules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules import module as hooked

from steepest.kernels.library import library, once

LAST = torch.channels_last
NARROW = torch.bfloat16


def serves(*tensors: torch.Tensor | None, maps: torch.Tensor | None = None) -> bool:
    """Whether the compiled kernels take these tensors as they are, here and now. maps: may be of bfloat16 too."""
    if watched() or not all(one is None or _plain(one, torch.float32) for one in tensors) or library() is None:
        return False
    return maps is None or _plain(maps, torch.float32) or (halves() and _plain(maps, NARROW))


def halves() -> bool:
    """Whether this processor multiplies halves, with which go maps of bfloat16."""
    return hasattr(library(), "steepest_half_conv")


def _plain(x: torch.Tensor, kind: torch.dtype) -> bool:
    return (
        type(x) in (torch.Tensor, nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype == kind
        and x.layout == torch.strided
        and not x.is_neg()
    )


def watched() -> bool:
    """Whether PyTorch must see the operators: autocast, compilers, tracers, transforms, dual numbers, counters."""
    return (
        torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )


def has_hooks(*modules: nn.Module) -> bool:
    """Whether anybody looks at what goes into or comes out of one of these modules, or does it in its place."""
    kinds = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    everywhere = any(getattr(hooked, f"_global{kind}") for kind in kinds)
    return everywhere or any("forward" in vars(one) or any(getattr(one, kind) for kind in kinds) for one in modules)


def follower(module: nn.Module) -> nn.Module | None:
    """The module that alone takes this one's output, as `followed_by` has it, unless somebody looks in between."""
    return next((one for one in getattr(module, "followed_by", ()) if not has_hooks(one, module)), None)


def learns(*tensors: torch.Tensor | None) -> bool:
    """Whether one of these is to get a gradient of what is computed now."""
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)


def call(name: str, *given: Any) -> bool:
    """Calls a compiled function: tensors by their address, None as no address; the number of threads comes last.

    Whether it did its work: one in half precision gives up where a number is too large for it.
    """
    addresses = (one.data_ptr() if isinstance(one, torch.Tensor) else one for one in given)
    status = getattr(once(), name)(*addresses, torch.get_num_threads())
    if status == 1:
        raise MemoryError("no memory for the work of a compiled kernel")
    return not status


def differentiable(
    function: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor | None],
    needs: Sequence[bool],
    dy: torch.Tensor,
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of PyTorch's operators, which can be differentiated again."""
    with torch.enable_grad():
        y = function(*inputs)
    wanted = [one for one, need in zip(inputs, needs, strict=True) if need and one is not None]
    gradients = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
    return tuple(next(gradients) if need else None for need in needs)


def as_one_call(module: nn.Module, x: fx.Proxy) -> fx.Proxy:
    """In a graph being traced the module stands as a whole, as torch's own do."""
    proxy: fx.Proxy = x.tracer.create_proxy("call_module", x.tracer.path_of_module(module), (x,), {})  # type: ignore[attr-defined]
    return proxy
