"""Cutting windows out of many images at once."""

from __future__ import annotations

import torch


def gathered(values: torch.Tensor, starts: torch.Tensor, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Crops (N,H,W,C) from pixels in a row: each row of a crop is one run of W·C values from its start (in pixels)."""
    run = shape[2] * shape[3]
    runs = values.as_strided((len(values) - run + 1, run), (1, 1))
    return runs.index_select(0, starts.flatten() * shape[3]).view(shape)
