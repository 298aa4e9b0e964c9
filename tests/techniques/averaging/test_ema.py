"""The exponential moving average: against the recurrence in float64, its steps, buffers and state."""

import copy

import pytest
import torch
from torch import nn

from steepest.techniques.averaging.ema import Ema


def network():
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def wander(model, seed):
    """Moves every weight and the running statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model(torch.randn(4, 2, 3, 3, generator=generator))


def averaged(ema, model):
    copied = copy.deepcopy(model)
    ema.copy_to(copied)
    return copied.state_dict()


@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.5, 3), (0.99, 2), (0.0, 1)])
def test_it_follows_the_recurrence_over_several_steps(decay, every):
    model, ema = network(), Ema(decay, every)
    slow = None
    for step in range(1, 12):
        wander(model, step)
        ema.after_step(model, progress=step / 12)
        now = {key: value.double() for key, value in model.state_dict().items()}
        if slow is None:
            slow = now
        elif step % every == 0:
            slow = {key: decay * slow[key] + (1 - decay) * value for key, value in now.items()}
            slow["1.num_batches_tracked"] = now["1.num_batches_tracked"]
        for key, value in averaged(ema, model).items():
            torch.testing.assert_close(value.double(), slow[key], rtol=1e-5, atol=1e-6)


def test_the_model_itself_is_not_moved():
    model, ema = network(), Ema(0.5)
    for step in range(3):
        wander(model, step)
        before = copy.deepcopy(model.state_dict())
        ema.after_step(model, progress=0.0)
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_before_the_first_step_copying_leaves_the_model_alone():
    model = network()
    assert all(torch.equal(value, averaged(Ema(), model)[key]) for key, value in model.state_dict().items())


def test_the_state_is_flat_of_tensors_and_numbers_and_is_no_view():
    model, ema = network(), Ema(0.5)
    ema.after_step(model, progress=0.0)
    state = ema.state_dict()
    assert all(isinstance(value, int | torch.Tensor) for value in state.values())
    kept = {key: value.clone() for key, value in state.items() if key != "steps"}
    wander(model, 1)
    ema.after_step(model, progress=0.0)
    assert state["steps"] == 1 and all(torch.equal(state[key], value) for key, value in kept.items())


def test_a_restored_average_goes_on_to_the_same_bits():
    model, ema = network(), Ema(0.7, every=2)
    for step in range(3):
        wander(model, step)
        ema.after_step(model, progress=0.0)
    other = Ema(0.7, every=2)
    other.load_state_dict(ema.state_dict())
    for step in range(3, 6):
        wander(model, step)
        ema.after_step(model, progress=0.0)
        other.after_step(model, progress=0.0)
    one, two = averaged(ema, model), averaged(other, model)
    assert all(torch.equal(one[key], two[key]) for key in one)
