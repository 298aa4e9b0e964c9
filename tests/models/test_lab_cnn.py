"""The lab CNN against NumPy loops, and its initialisation."""

import numpy as np
import pytest
import torch
from torch import nn

from steepest.models.lab_cnn import LabCNN


def conv_loop(x, weight, bias, pad):
    """Convolution by the formula, one output pixel at a time: (N, C, H, W) -> (N, F, H, W)."""
    n, _, height, width = x.shape
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size = weight.shape[2]
    out = np.empty((n, len(weight), height, width))
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = np.einsum("ncij,fcij->nf", x[:, :, i : i + size, j : j + size], weight) + bias
    return out


def pool_loop(x):
    return np.maximum.reduce([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])


def norm_loop(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_equals_the_loops(batch_norm):
    torch.manual_seed(0)
    net = LabCNN(5, (3, 12, 8), 4, batch_norm).double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias") and "norm" not in name:
            nn.init.normal_(parameter)
    image = torch.randn(6, 3, 12, 8, dtype=torch.float64)
    state = {key: value.clone().numpy() for key, value in net.state_dict().items()}
    x = image.numpy()
    for layer in ("conv1", "conv2"):
        x = conv_loop(x, state[f"{layer}.weight"], state[f"{layer}.bias"], pad=2)
        x = pool_loop(np.maximum(norm_loop(x, (0, 2, 3)) if batch_norm else x, 0))
    x = x.reshape(6, -1) @ state["linear1.weight"].T + state["linear1.bias"]
    x = np.maximum(norm_loop(x, 0) if batch_norm else x, 0)
    x = x @ state["linear2.weight"].T + state["linear2.bias"]
    np.testing.assert_allclose(net(image).detach().numpy(), x, rtol=1e-9, atol=1e-9)


def test_weights_are_he_normal_and_biases_zero():
    torch.manual_seed(0)
    net = LabCNN(10, (3, 32, 32))
    for name, fan_in in (("conv1", 75), ("conv2", 800), ("linear1", 4096), ("linear2", 1024)):
        weight = net.get_parameter(f"{name}.weight").detach()
        assert weight[0].numel() == fan_in
        tolerance = 4 / weight.numel() ** 0.5  # four standard errors of a standard deviation, and more
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=tolerance)
        assert weight.abs().max() > 2.5 * weight.std()  # a uniform distribution ends at 1.73
        assert not net.get_parameter(f"{name}.bias").any()


def test_batch_norm_adds_one_layer_to_each_but_the_last():
    plain = LabCNN(10, (3, 32, 32))
    with_norm = LabCNN(10, (3, 32, 32), batch_norm=True)
    added = [m for m in with_norm.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [m.num_features for m in added] == [32, 64, 1024]
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in plain.modules())


def test_width_scales_every_hidden_layer():
    net = LabCNN(10, (3, 32, 32), width=8)
    assert (net.conv1.out_channels, net.conv2.out_channels, net.linear1.out_features) == (8, 16, 256)
