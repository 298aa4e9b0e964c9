"""Schedules: f(progress in [0,1), **settings) -> a multiplier of the base learning rate."""

NAMES: tuple[str, ...] = ("constant", "cosine", "step", "triangular")
