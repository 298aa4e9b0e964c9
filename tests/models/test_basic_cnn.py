"""The basic CNN against the notebook's own sequence of layers."""

import pytest
import torch
from torch import nn

from steepest.models.basic_cnn import BasicCNN


def published(batch_norm):
    def norm(channels):
        return [nn.BatchNorm2d(channels)] if batch_norm else []

    first = [nn.Conv2d(3, 16, 3, 1, 1), *norm(16), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, 1, 1), *norm(32), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(2048, 10))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_equals_the_published_sequence(batch_norm):
    torch.manual_seed(0)
    net = BasicCNN(10, (3, 32, 32), batch_norm=batch_norm).double()
    twin = published(batch_norm).double()
    ours, theirs = net.state_dict(), twin.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    twin.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    image = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(net(image), twin(image))


def test_the_initialisation_is_pytorchs_own():
    torch.manual_seed(0)
    net = BasicCNN(10, (3, 32, 32))
    torch.manual_seed(0)
    twin = published(batch_norm=False)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_width_scales_both_convolutions():
    net = BasicCNN(3, (1, 8, 8), width=5)
    assert (net.conv1.out_channels, net.conv2.out_channels, net.out.in_features) == (5, 10, 40)
