"""Layers: final modules, and where it serves apply(model, **settings) -> model."""

NAMES: tuple[str, ...] = ("whiten_conv",)
