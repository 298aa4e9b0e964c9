"""Statistics of measured figures: how much a number, or a difference of two, is worth. NumPy and SciPy; no torch."""

from __future__ import annotations

from .means import Difference, Equivalence, Mean, difference, equivalence, holm, mean, mean_of
from .planning import power_of, sd_limit, seeds_needed, smallest_difference
from .sequential import Sequential, e_values, sequential
from .shares import apart, paired_shares, smallest_share_difference, wilson

__all__ = [
    "Difference",
    "Equivalence",
    "Mean",
    "Sequential",
    "apart",
    "difference",
    "e_values",
    "equivalence",
    "holm",
    "mean",
    "mean_of",
    "paired_shares",
    "power_of",
    "sd_limit",
    "seeds_needed",
    "sequential",
    "smallest_difference",
    "smallest_share_difference",
    "wilson",
]
