"""Initialisations: f(model, images, *, generator, **settings) -> None."""

NAMES: tuple[str, ...] = ("whitening_init",)
