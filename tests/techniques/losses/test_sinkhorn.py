"""The transport loss: the exact transport by a linear programme, the closed form for plain classes, its gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch.nn import functional as F

from steepest.mistake import Mistake
from steepest.techniques.losses.sinkhorn import matrix, sinkhorn

KINDS = ["uniform", "line", "(0 1)(2 3)"]


def batch(count=3, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randn(count, classes, generator=generator, dtype=torch.float64).softmax(1)


def exact(p, t, cost):
    """The least cost of a plan with these margins, for one image."""
    classes = len(p)
    rows = np.kron(np.eye(classes), np.ones(classes))
    columns = np.kron(np.ones(classes), np.eye(classes))
    done = linprog(cost.flatten(), A_eq=np.vstack((rows, columns)), b_eq=np.concatenate((p, t)))
    assert done.success
    return done.fun


@pytest.mark.parametrize("distances", KINDS)
def test_it_tends_to_the_exact_transport_from_above_as_epsilon_falls(distances):
    logits, mixed = batch()
    cost = matrix(distances, logits).numpy()
    pairs = zip(logits.softmax(1).numpy(), mixed.numpy(), strict=True)
    wanted = torch.tensor([exact(p, t, cost) for p, t in pairs])
    gaps = [
        (sinkhorn(logits, mixed, distances=distances, epsilon=epsilon, iterations=1500) - wanted).max().item()
        for epsilon in (1.0, 0.1, 0.005)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > -1e-4 and gaps[2] < 0.01


def test_the_uniform_distance_tends_to_half_the_sum_of_the_differences():
    logits, mixed = batch()
    wanted = (logits.softmax(1) - mixed).abs().sum(1) / 2
    found = sinkhorn(logits, mixed, epsilon=0.005, iterations=1500)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.01)


@pytest.mark.parametrize("distances", KINDS)
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 10.0])
def test_a_plain_class_costs_its_distance_at_any_epsilon_and_the_general_way_finds_it(distances, epsilon):
    logits, labels = batch(4)[0], torch.tensor([0, 3, 2, 2])
    cost, p = matrix(distances, logits).tolist(), logits.softmax(1).tolist()
    slow = [sum(p[n][i] * cost[i][y] for i in range(4)) for n, y in enumerate(labels.tolist())]
    found = sinkhorn(logits, labels, distances=distances, epsilon=epsilon)
    torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64))
    general = sinkhorn(logits, F.one_hot(labels, 4).double(), distances=distances, epsilon=epsilon, iterations=1)
    torch.testing.assert_close(general, found)


def test_it_is_the_cost_of_the_plan_that_a_plain_loop_of_scaling_finds():
    logits, mixed = batch(1)
    p, t, cost, epsilon = logits.softmax(1)[0].numpy(), mixed[0].numpy(), matrix("line", logits).numpy(), 0.7
    kernel, u, v = np.exp(-cost / epsilon) * np.outer(p, t), np.ones(4), np.ones(4)
    for _ in range(200):
        u = p / (kernel @ v)
        v = t / (kernel.T @ u)
    plan = u[:, None] * kernel * v
    wanted = (plan * cost).sum() + epsilon * (plan * np.log(plan / np.outer(p, t))).sum()
    found = sinkhorn(logits, mixed, distances="line", epsilon=epsilon, iterations=200)
    assert found.item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("distances", KINDS)
def test_the_gradient_is_that_of_the_value(distances):
    logits, mixed = batch(2)
    mixed[0] = torch.tensor([0.5, 0.0, 0.5, 0.0])

    def loss(z):
        return sinkhorn(z, mixed, distances=distances, epsilon=0.5, iterations=300)

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),), atol=1e-6)
    labels = torch.tensor([1, 2])
    assert torch.autograd.gradcheck(lambda z: sinkhorn(z, labels, distances=distances), (logits,))


@given(seed=st.integers(0, 99), scale=st.floats(0, 100), epsilon=st.floats(1e-3, 10))
@settings(max_examples=25, deadline=None)
def test_it_lies_between_zero_and_the_greatest_distance_with_finite_gradients(seed, scale, epsilon):
    logits, mixed = batch(seed=seed)
    logits = (logits * scale).float().requires_grad_()
    losses = sinkhorn(logits, mixed.float(), distances="line", epsilon=epsilon, iterations=20)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.isfinite().all() and gradient.isfinite().all()
    assert (losses > -1e-3).all() and (losses < 3 + 1e-3).all()


def test_ordered_classes_pay_by_how_far_they_are_off():
    sure = 30 * torch.eye(5)
    found = sinkhorn(sure, torch.full((5,), 1), distances="line")
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 1.0, 2.0, 3.0]))
    found = sinkhorn(sure, torch.full((5,), 1), distances="(0 1)(2 (3 4))")
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 1.0, 1.0, 1.0]))


def test_half_precision_is_computed_in_float32():
    logits, mixed = (part.bfloat16() for part in batch())
    assert torch.equal(sinkhorn(logits, mixed), sinkhorn(logits.float(), mixed.float()))


def test_other_distances_and_settings_are_refused():
    with pytest.raises(Mistake, match="distances must be uniform, line, or a tree"):
        sinkhorn(*batch(), distances="circle")
    with pytest.raises(Mistake, match="each class from 0 to 3 once"):
        sinkhorn(*batch(), distances="(0 1)(2 4)")
    with pytest.raises(ValueError, match="epsilon"):
        sinkhorn(*batch(), epsilon=0.0)
    with pytest.raises(ValueError, match="iterations"):
        sinkhorn(*batch(), iterations=0)
