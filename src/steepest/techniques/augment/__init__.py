"""Augmentations: f(images (N,C,H,W), targets, *, progress, generator, **settings) -> (images, targets)."""

NAMES: tuple[str, ...] = ("flip", "pad_crop")
