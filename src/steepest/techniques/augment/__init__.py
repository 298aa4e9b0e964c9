"""Augmentations: f(images (N,C,H,W), targets, *, progress, generator, **settings) -> (images, targets)."""

NAMES: tuple[str, ...] = ("alternating_flip", "cutout", "flip", "pad_crop")
