"""Rules that end a training early: classes with should_stop(curve) -> reason or None."""

NAMES: tuple[str, ...] = ("early_stopping",)
