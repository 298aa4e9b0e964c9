"""Optimisers: f(named_parameters, *, lr, momentum, weight_decay, **settings) -> torch.optim.Optimizer."""

NAMES: tuple[str, ...] = ("adam", "adamw", "muon", "nesterov", "sgd")
