"""Batch norms are absorbed into the convolutions or linear layers before them, and are gone.

Formula: w' = w·γ / √(σ² + ε) and b' = (b - μ)·γ / √(σ² + ε) + β for each output channel of a convolution or linear
layer with weight w and bias b (0 where it has none), where μ and σ² are the batch norm's running mean and variance, γ
and β its scale and shift, and ε its small number; then w'·x + b' is what the batch norm gave.

Source: S. Ioffe, C. Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift, 2015, arXiv 1502.03167, section 3.1; the arithmetic is torch.nn.utils.fusion's.

Differs: nothing. Which norm follows which layer is read from the network's graph (torch.fx), not from the order of its
modules: a norm is folded only where its one input is the output of a convolution or linear layer that nobody else uses,
and neither stands in a second place. Others stay. The new network is that graph, without the folded norms.

Helps: for predicting: fewer passes over memory, the same outputs up to rounding.

Hurts: training goes on with the network as it was, not with this one. A norm after a pool cannot be folded. A network
whose way depends on its input's values has no graph and is refused, as is one without anything to fold; so it clashes
with what takes the batch norms out of a network. A linear layer is taken to see vectors (N,C).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ...mistake import Mistake
from .. import surgery
from ..card import Card

CARD = Card(clashes=("group_norm", "instance_norm", "layer_norm", "norm_free_control"))
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A new network for evaluation, with the same outputs and fewer modules; the given one stays as it is.

    Raises Mistake where no norm directly follows a convolution or linear layer, and where the network has no graph.
    """
    model = copy.deepcopy(model).eval()
    try:
        graph = _Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise Mistake(f"{type(model).__name__} has no fixed graph to fold batch norms in: {why}") from error
    modules = dict(model.named_modules())
    calls = [id(modules[str(node.target)]) for node in graph.nodes if node.op == "call_module"]
    folded = 0
    for node in list(graph.nodes):
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        layer, norm = modules[str(before.target)], modules[str(node.target)]
        if calls.count(id(layer)) == calls.count(id(norm)) == 1 and _match(layer, norm):
            _fold(layer, norm)
            node.replace_all_uses_with(before)
            graph.erase_node(node)
            folded += 1
    if not folded:
        raise Mistake(f"{type(model).__name__} has no batch norm that directly follows a convolution or linear layer")
    return fx.GraphModule(model, graph, type(model).__name__).eval()


class _Tracer(fx.Tracer):
    """Reads the order in which modules without parts, torch's own and the norms are called."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        alone = next(m.children(), None) is None and not isinstance(m, nn.Sequential)
        return alone or isinstance(m, surgery.NORMS) or super().is_leaf_module(m, module_qualified_name)


def _match(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a norm computes what torch's does, on just what a layer that is torch's own gives."""
    takes = type(layer) in LAYERS or bool(getattr(layer, "folds", False))
    folds = type(norm) in PLAIN or bool(getattr(norm, "folds", False))
    hooks = [hook for part in (layer, norm) for hook in (*part._forward_hooks, *part._forward_pre_hooks)]
    if not takes or not folds or hooks or norm.running_mean is None:
        return False
    width: Any = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    flat = isinstance(norm, nn.SyncBatchNorm) or surgery.is_flat(norm) is not isinstance(layer, nn.Conv2d)
    return bool(width == norm.num_features) and flat


def _fold(layer: Any, norm: Any) -> None:
    statistics = norm.running_mean, norm.running_var, norm.eps
    with torch.no_grad():
        layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, norm.weight, norm.bias)
