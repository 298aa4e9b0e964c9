"""Losses: f(logits (N,K), targets (N,) or (N,K), **settings) -> (N,)."""

NAMES: tuple[str, ...] = ("cross_entropy", "label_smoothing", "mse")
