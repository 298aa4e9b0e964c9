"""Convolutions of 3×3 pixels multiply in half precision while the network is trained on a CPU that has such instructions.

Formula: Y = Aᵀ [Σ_c round₁₆(s G g Gᵀ) ⊙ round₁₆(t Bᵀ d B)] A / (s t), with d a piece of the input's channel c, g the
filter, A, B and G the matrices of Winograd's method, and s and t powers of two that bring the mean of weights and input
far from the smallest and the largest 16-bit number. The sums over the channels are 16-bit too; all that comes before the
rounding and after the sum is float32. Both gradients are computed in the same way.

Source: P. Micikevicius et al., Mixed Precision Training, 2017, arXiv 1710.03740 (products of half precision in training);
A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015, arXiv 1509.09308 (Winograd's method). K.
Jordan's airbench, 2024, arXiv 2404.00498, trains in half precision on its graphics card.

Differs: no scaled loss, because each tensor is scaled by itself; weights, maps and everything but these products stay
float32. Where the processor or the compiler has no instructions for it, all stays float32. Evaluation always is.

Helps: on processors with AVX512-FP16 (Intel's since 2023) or the like, where twice as many numbers are multiplied at a
time: the step is shorter by a quarter to a third. On a graphics card, use mixed_precision.

Hurts: where exact numbers matter: an output is off by 0.5 to 3 % of the mean output, as if by noise.
"""

from __future__ import annotations

from torch import nn

from ...mistake import Mistake
from ..card import Card

CARD = Card()


def apply(model: nn.Module) -> nn.Module:
    """The network with its 3×3 convolutions marked, in place; what computes them goes by it.

    Raises Mistake where there is none.
    """
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3)]
    if not convolutions:
        raise Mistake(f"{type(model).__name__} has no 3×3 convolution")
    for one in convolutions:
        one.half_products = True  # type: ignore[assignment]
    return model
