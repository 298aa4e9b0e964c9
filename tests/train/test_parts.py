"""Networks are built with the compiled convolutions, and inference techniques find their way through them."""

import pytest
import torch
from torch import nn

from steepest.kernels.conv3x3 import Conv3x3
from steepest.models.summary import summary
from steepest.recipe import Use
from steepest.train.parts import inference, network

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("name", ["resnet9", "speedrun"])
def test_every_convolution_of_three_by_three_is_the_compiled_one(name):
    net = network(Use(name), 4, 10, SHAPE, "cpu")
    three = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert three and all(type(conv) is Conv3x3 for conv in three)


def test_batch_norms_fold_into_compiled_convolutions():
    net = network(Use("resnet9"), 4, 10, SHAPE, "cpu").train()
    net(torch.randn(8, *SHAPE))
    prepare, infer = inference([Use("fold_batch_norm")])
    folded = prepare(net.eval())
    x = torch.randn(4, *SHAPE)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(infer(folded, x), net(x), rtol=1e-4, atol=1e-4)


def test_operations_are_counted_alike_with_compiled_convolutions(monkeypatch):
    net = network(Use("resnet9"), 4, 10, SHAPE, "cpu")
    counted = summary(net, SHAPE)
    monkeypatch.setenv("STEEPEST_KERNELS", "off")
    assert counted == summary(net, SHAPE) and counted.flops_per_image > 700_000
