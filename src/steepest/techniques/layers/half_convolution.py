"""Convolutions of 3×3 pixels compute in half precision while a network is trained on a CPU with instructions for it.

Formula: Y = Aᵀ [Σ_c round₁₆(s G g Gᵀ) ⊙ (Bᵀ round₁₆(t d) B)] A / (s t), with d a piece of the input's channel c, g the
filter, and A, B and G the matrices of Winograd's method; s and t are powers of two that bring the mean size of weights
and inputs far from the smallest and the largest 16-bit number. Transforms, products and sums over channels are 16-bit.
Both gradients are computed in the same way. Maps, and their gradients, are bfloat16 where they go from such a
convolution straight into a norm, or from there into the next one: half the memory to read and to write.

Source: P. Micikevicius et al., Mixed Precision Training, 2017, arXiv 1710.03740 (half precision in training); A. Lavin,
S. Gray, 2015, arXiv 1509.09308 (Winograd's method). K. Jordan's airbench, 2024, arXiv 2404.00498, trains in half
precision on its graphics card.

Differs: the loss is not scaled, because each tensor is by itself; weights, statistics and all other layers stay
float32, and so does evaluation. Where the processor or the compiler has no such instructions, or a number of channels
is odd, or a number is too large for 16 bits (some ten thousand times the mean of its tensor), the convolution is
computed in float32.

Helps: on processors with AVX512-FP16 (Intel's since 2023), which compute twice as many numbers at a time: a training
step takes a third less. On a graphics card mixed_precision does this.

Hurts: where exact numbers matter: an output is off by 0.5 to 3 % of the mean output, as if by noise.
"""

from __future__ import annotations

from torch import nn

from ...mistake import Mistake
from ..card import Card

CARD = Card(pictures=True)


def apply(model: nn.Module) -> nn.Module:
    """The network with its 3×3 convolutions marked by `half_products`, in place; what computes them goes by it.

    Raises Mistake where there is none.
    """
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3)]
    if not convolutions:
        raise Mistake(f"{type(model).__name__} has no 3×3 convolution")
    for one in convolutions:
        one.half_products = True  # type: ignore[assignment]
    return model
