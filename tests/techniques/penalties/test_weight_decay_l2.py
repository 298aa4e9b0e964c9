"""The L2 penalty: its value, and that it is sgd's own weight decay over several steps, but not Adam's decoupled one."""

import copy

import pytest
import torch
from torch import nn

from steepest.techniques.optimizers.adamw import adamw
from steepest.techniques.optimizers.nesterov import nesterov
from steepest.techniques.optimizers.sgd import sgd
from steepest.techniques.penalties.weight_decay_l2 import weight_decay_l2


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def trained(optimizer, penalty=0.0, **settings):
    model = network()
    made = optimizer(model.named_parameters(), lr=0.1, **settings)
    x = torch.arange(20.0, dtype=torch.float64).view(5, 4) / 10
    for _ in range(8):
        loss = model(x).square().mean()
        (loss + weight_decay_l2(model, decay=penalty)).backward()
        made.step()
        made.zero_grad()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_is_half_the_sum_of_all_squares_times_the_decay():
    model = network()
    slow = sum(float(w) ** 2 for parameter in model.parameters() for w in parameter.detach().flatten())
    assert weight_decay_l2(model, decay=0.3).item() == pytest.approx(0.15 * slow)


def test_its_gradient_is_decay_times_weight():
    model = network()
    weight_decay_l2(model, decay=0.3).backward()
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, 0.3 * parameter.detach())


def test_frozen_weights_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    alone = weight_decay_l2(model[2])
    torch.testing.assert_close(weight_decay_l2(model), alone)
    assert weight_decay_l2(copy.deepcopy(model).requires_grad_(False)) == 0


@pytest.mark.parametrize(("optimizer", "momentum"), [(sgd, 0.0), (sgd, 0.9), (nesterov, 0.9)])
def test_with_sgd_it_is_the_optimizers_own_weight_decay(optimizer, momentum):
    penalised = trained(optimizer, penalty=0.05, momentum=momentum)
    torch.testing.assert_close(penalised, trained(optimizer, momentum=momentum, weight_decay=0.05))
    assert not torch.allclose(penalised, trained(optimizer, momentum=momentum))


def test_with_adamw_it_is_not():
    assert not torch.allclose(trained(adamw, penalty=0.05, weight_decay=0.0), trained(adamw, weight_decay=0.05))
