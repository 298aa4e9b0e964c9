"""Augmentations: f(images (N,C,H,W), targets, *, progress, generator, **settings) -> (images, targets)."""

NAMES: tuple[str, ...] = (
    "adversarial_pgd",
    "alternating_flip",
    "auto_augment",
    "color_jitter",
    "cutmix",
    "cutout",
    "flip",
    "input_noise",
    "mixup",
    "pad_crop",
    "progressive_resize",
)
