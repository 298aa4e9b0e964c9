"""Muon: Newton-Schulz against singular values and torch.optim.Muon, the step against the published loop, the groups."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.techniques.optimizers.muon import Muon, orthogonalised


def network():
    """Two convolutions, a frozen one, a norm, a hidden matrix and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = nn.Conv2d(3, 4, 2).requires_grad_(False)
        convs = (nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1, bias=False))
        return nn.Sequential(frozen, *convs, nn.Flatten(), nn.Linear(48, 6), nn.Linear(6, 2))


def with_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def matrix(rows, columns, seed=0):
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), steps=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_newton_schulz_maps_each_singular_value_by_the_polynomial(rows, columns, steps, seed):
    given_matrix = matrix(rows, columns, seed)
    u, s, v = np.linalg.svd(given_matrix.numpy(), full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-7)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    np.testing.assert_allclose(orthogonalised(given_matrix, steps).numpy(), u @ np.diag(s) @ v, atol=1e-9)


def test_three_steps_bring_the_singular_values_of_a_gradient_near_one():
    values = torch.linalg.svdvals(orthogonalised(matrix(16, 144), 3))
    assert values.min() > 0.5 and values.max() < 1.3


def test_newton_schulz_is_that_of_torch():
    from torch.optim._muon import _zeropower_via_newtonschulz

    twin = _zeropower_via_newtonschulz(matrix(6, 10).float(), (3.4445, -4.7750, 2.0315), 3, 1e-7)
    torch.testing.assert_close(orthogonalised(matrix(6, 10).float(), 3), twin.float(), atol=0.03, rtol=0.03)


def test_many_steps_do_not_blow_rounding_errors_up():
    flat = matrix(16, 2) @ matrix(2, 144) + 1e-6 * matrix(16, 144, seed=1)
    values = torch.linalg.svdvals(orthogonalised(flat.float(), 40))
    assert values.min() > 0.5 and values.max() < 1.3


def test_a_zero_gradient_stays_zero():
    assert not orthogonalised(torch.zeros(3, 5), 3).any()


def published(weights, gradients, rates, decay):
    """airbench94_muon's two optimisers, written down as there, in float64: (weights after, one row a parameter)."""
    weights = [weight.clone() for weight in weights]
    buffers = [torch.zeros_like(weight) for weight in weights]
    for step, rate in enumerate(rates):
        for w, buf, g, kind in zip(weights, buffers, gradients[step], KINDS, strict=True):
            if kind == "filters":
                buf.mul_(0.6).add_(g)
                g = g.add(buf, alpha=0.6)
                w.mul_(len(w) ** 0.5 / w.norm())
                flat = g.reshape(len(g), -1)
                u, s, v = torch.linalg.svd(flat / (flat.norm() + 1e-7), full_matrices=False)
                for _ in range(3):
                    s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
                w.add_((u @ s.diag() @ v).view(g.shape), alpha=-0.24 * rate)
            else:
                base = {"head": 0.67, "rest": 0.053}[kind]
                g = g + decay / base * w
                buf.mul_(0.85).add_(g)
                w.add_(g + 0.85 * buf, alpha=-base * rate)
    return weights


KINDS = ["filters", "rest", "rest", "rest", "filters", "filters", "rest", "head", "rest"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_several_steps_equal_the_published_loop(memory_format):
    model = network().double().to(memory_format=memory_format)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = Muon(model.named_parameters(), lr=0.24, momentum=0.6, weight_decay=0.004)
    start, gradients, rates = [parameter.detach().clone() for parameter in trained], [], [1.0, 0.8, 0.3, 0.1]
    for seed, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
        with_gradients(model, seed)
        gradients.append([parameter.grad.clone() for parameter in trained])
        optimizer.step()
    for made, wanted in zip(trained, published(start, gradients, rates, 0.004), strict=True):
        torch.testing.assert_close(made.detach(), wanted)


def test_the_last_matrix_is_the_head_and_everything_else_has_its_group():
    model = network()
    groups = Muon(model.named_parameters(), lr=0.1, momentum=0.5, bias_lr=0.2, head_lr=0.3).param_groups
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    names = [[named[id(parameter)] for parameter in group["params"]] for group in groups]
    assert names == [
        ["1.weight", "3.weight", "5.weight"],
        ["6.weight"],
        ["1.bias", "2.weight", "2.bias", "5.bias", "6.bias"],
    ]
    assert [group["lr"] for group in groups] == [group["initial_lr"] for group in groups] == [0.1, 0.3, 0.2]


def test_a_network_with_nothing_to_orthogonalise_has_no_such_group():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert [group["orthogonal"] for group in Muon(model.named_parameters(), lr=0.1).param_groups] == [False, False]


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_weight_decay_shrinks_by_the_same_share_whatever_the_base_rate(rate):
    model = nn.Linear(3, 2)
    before = copy.deepcopy(model)
    settings = {"bias_lr": rate, "head_lr": 2 * rate, "other_momentum": 0.0}
    optimizer = Muon(model.named_parameters(), lr=0.1, weight_decay=0.25, **settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight, 0.75 * before.weight)
    torch.testing.assert_close(model.bias, 0.75 * before.bias)


def test_each_step_starts_from_filters_of_unit_length_on_average():
    model = nn.Conv2d(3, 5, 3, bias=False)
    optimizer = Muon(model.named_parameters(), lr=0.0)
    with_gradients(model, 0)
    optimizer.step()
    assert model.weight.norm().item() == pytest.approx(math.sqrt(5), rel=1e-5)


def test_filters_of_zeros_start_to_move_and_give_no_nan():
    model = nn.Conv2d(3, 5, 3, bias=False)
    nn.init.zeros_(model.weight)
    with_gradients(model, 0)
    Muon(model.named_parameters(), lr=0.1).step()
    assert model.weight.isfinite().all() and model.weight.any()


def test_weights_without_a_gradient_stay_and_so_do_their_velocities():
    model = network()
    optimizer = Muon(model.named_parameters(), lr=0.1, weight_decay=0.1)
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not optimizer.state


def test_a_restored_optimizer_goes_on_to_the_same_bits_from_another_memory_format():
    model = network().to(memory_format=torch.channels_last)
    optimizer = Muon(model.named_parameters(), lr=0.1, weight_decay=0.01)
    for seed in range(3):
        with_gradients(model, seed)
        optimizer.step()
    other = copy.deepcopy(model)
    state = copy.deepcopy(optimizer.state_dict())
    for held in state["state"].values():
        held["velocity"] = held["velocity"].contiguous()
    restored = Muon(other.named_parameters(), lr=0.1, weight_decay=0.01)
    restored.load_state_dict(state)
    for made, moved in ((optimizer, model), (restored, other)):
        for seed in range(3, 6):
            with_gradients(moved, seed)
            if moved is other:
                for filters in (other[1].weight, other[3].weight):
                    assert filters.grad is not None
                    filters.grad = filters.grad.contiguous(memory_format=torch.channels_last)
            made.step()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_closure_is_called_with_gradients_on():
    model = nn.Linear(2, 1)
    optimizer = Muon(model.named_parameters(), lr=0.1, head_lr=0.01, bias_lr=0.01)

    def closure():
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss.item()

    first = optimizer.step(closure)
    model.zero_grad()
    assert first is not None and closure() < first


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"lr": math.nan}, {"momentum": 1.0}, {"weight_decay": -0.1}])
def test_wrong_rates_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Muon(network().named_parameters(), **wrong)
