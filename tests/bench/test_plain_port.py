"""The plain port against this house's own network and optimiser, which have tests against the published ones."""

from __future__ import annotations

import plain_port
import torch
from plain_port import Net, Port
from torch.nn import functional as F

from steepest import models
from steepest.techniques.optimizers.muon import Muon


def pair(width=8):
    """The port's network, and ours with the same weights; its head divides by 4·width, ours by 9."""
    torch.manual_seed(0)
    theirs = Net(width).double()
    ours = models.build("speedrun", classes=10, shape=(3, 32, 32), width=width).double()
    state = theirs.state_dict()
    ours.load_state_dict(state | {"head.weight": state["head.weight"] * 9 / (4 * width)})
    return theirs, ours


def test_its_network_is_the_published_one():
    theirs, ours = pair()
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for net in (theirs, ours):
        F.cross_entropy(net(x), torch.arange(4)).backward()
    torch.testing.assert_close(theirs(x), ours(x))
    twin = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad and name != "head.weight":
            torch.testing.assert_close(parameter.grad, twin[name].grad, msg=name)


def test_a_frozen_bias_takes_no_gradient():
    net = Net(8)
    net.train_bias = False
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert net.whiten.bias.grad is None and net.group1.conv1.weight.grad is not None


def test_its_muon_is_ours():
    shapes = ((8, 3, 3, 3), (4, 200, 3, 3))
    weights = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    twins = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    theirs, ours = plain_port.Muon(weights), Muon([(str(i), twin) for i, twin in enumerate(twins)])
    for _ in range(3):
        for weight, twin in zip(weights, twins, strict=True):
            weight.grad = twin.grad = torch.randn_like(weight)
        theirs.step()
        ours.step()
    for weight, twin in zip(weights, twins, strict=True):
        torch.testing.assert_close(weight, twin)


def test_a_window_shows_the_image_moved_by_at_most_two_pixels():
    images = torch.rand(200, 3, 6, 6)
    padded = F.pad(images, (2, 2, 2, 2), "reflect")
    places = {
        next((y, x) for y in range(5) for x in range(5) if torch.equal(window, whole[:, y : y + 6, x : x + 6]))
        for window, whole in zip(plain_port.moved(padded, 6), padded, strict=True)
    }
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_it_trains_to_the_end_and_learns(capsys):
    torch.manual_seed(0)
    labels = torch.arange(60) % 10
    images = torch.randint(0, 40, (60, 3, 32, 32)).byte()
    for row, label in enumerate(labels):
        images[row, :, 3 * label : 3 * label + 3] = 250
    port = Port(images, labels, width=8, batch=20)
    port.train(port.steps)
    assert port.steps == 24 and port.accuracy(images, labels) > 0.5
    assert "epoch 8 of 8" in capsys.readouterr().err
