"""Penalties: f(model, **settings) -> a scalar that the loop adds to the loss."""

NAMES: tuple[str, ...] = ("weight_decay_l2",)
