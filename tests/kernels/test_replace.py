"""Networks get the compiled kernels in place, and stay the networks they are, whatever is done to them afterwards."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from steepest import kernels, models
from steepest.kernels import library, replace
from steepest.kernels.activation import CELU, GELU
from steepest.kernels.batch_norm import BatchNorm2d
from steepest.kernels.max_pool import MaxPool2x2
from steepest.kernels.replace import neighbours
from steepest.techniques.inference.fold_batch_norm import fold_batch_norm
from steepest.techniques.layers import celu, checkpointing

LAST = torch.channels_last

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")


def images(n=4, side=32):
    return torch.randn(n, 3, side, side).contiguous(memory_format=LAST)


def small():
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2))


def built(name):
    return models.build(name, classes=10, shape=(3, 32, 32), width=8).to(memory_format=LAST)  # type: ignore[call-overload]


def same(ours, theirs, x=None):
    x = images() if x is None else x
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "count"), [("speedrun", 10), ("resnet9", 8), ("resnet18", 9), ("basic_cnn", None), ("fast26", None)]
)
def test_networks_train_and_predict_as_with_pytorchs(name, count):
    theirs = built(name)
    ours = copy.deepcopy(theirs)
    state, parameters = list(ours.state_dict()), [id(one) for one in ours.parameters()]
    generator = torch.random.get_rng_state()
    assert kernels.apply(ours) is ours and torch.equal(generator, torch.random.get_rng_state())
    assert list(ours.state_dict()) == state and [id(one) for one in ours.parameters()] == parameters
    assert count is None or sum(bool(getattr(one, "followed_by", ())) for one in ours.modules()) == count
    x, optimizers = images(), [torch.optim.SGD(net.parameters(), lr=0.01) for net in (ours, theirs)]
    for _ in range(3):
        losses = []
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), torch.arange(4))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.testing.assert_close(*losses, atol=1e-3, rtol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-2, rtol=1e-2)


def test_a_pair_is_a_norm_and_an_activation_that_alone_takes_its_output():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.alone, self.shared, self.twice, self.last = (nn.BatchNorm2d(3) for _ in range(4))
            self.act, self.own = nn.ReLU(), nn.Tanh()

        def forward(self, x):
            x = self.act(self.alone(x))
            y = self.shared(x)
            x = self.act(y) + y
            x = self.act(self.twice(self.own(self.twice(x))))
            return self.own(self.last(x))

    net = Net()
    assert neighbours(net)[0] == [(net.alone, net.act)]
    same(kernels.apply(copy.deepcopy(net)), net)


def pool_net():
    parts = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.GELU(),
        nn.Conv2d(8, 4, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    return nn.Sequential(*parts)


def test_a_pool_that_alone_takes_a_convolutions_output_is_computed_with_it(counting):
    theirs = pool_net()
    ours = kernels.apply(copy.deepcopy(theirs))
    assert ours[0].followed_by == (ours[1],) and ours[3].followed_by == (ours[4],)
    called = counting("conv3x3", "max_pool")
    for layout in (LAST, torch.contiguous_format):
        x = images(4, 17).contiguous(memory_format=layout)
        gradients = []
        for net in (ours, theirs):
            net.zero_grad()
            leaf = x.clone().requires_grad_()
            y = net(leaf)
            (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
            gradients.append([y.detach(), leaf.grad, *[one.grad for one in net.parameters()]])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert called == ["steepest_conv"] * 2 + ["steepest_input_gradient", "steepest_weight_gradient"] * 2 + called[6:]
    assert len(called) == 12


def test_a_convolution_whose_pool_is_not_alone_or_shown_to_somebody_pools_nothing(counting):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)

        def forward(self, x):
            x = self.conv(x)
            return self.pool(x).sum() + x.sum()

    assert not neighbours(kernels.apply(Net()))[0] and not kernels.apply(Net()).conv.followed_by
    theirs = pool_net()
    ours, seen = kernels.apply(copy.deepcopy(theirs)), []
    for net in (ours, theirs):
        net[0].register_forward_hook(lambda module, given, out: seen.append(out))
        net[4].register_forward_pre_hook(lambda module, given: seen.append(*given))
    called = counting("max_pool")
    same(ours, theirs)
    assert called == ["steepest_pool"] * 2
    for one, other in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_convolution_whose_forward_somebody_took_over_pools_nothing(counting):
    """The pool sees another tensor than the convolution's, which does not say that it was pooled."""
    theirs = pool_net()
    ours = kernels.apply(copy.deepcopy(theirs))
    for net in (ours, theirs):
        net[0].__dict__["forward"] = lambda x, conv=net[0]: type(conv).forward(conv, x).clone()
    called = counting("max_pool")
    same(ours, theirs)
    assert called == ["steepest_pool"]


def test_a_pool_passes_on_only_what_was_pooled_for_it():
    ours = kernels.apply(pool_net())
    x = images(2, 16)
    y = ours[0](x)
    assert y.shape[2:] == (8, 8) and torch.equal(ours[1](y), y)
    torch.testing.assert_close(ours[1](ours[1](y)), F.max_pool2d(y, 2))  # once alone
    torch.testing.assert_close(MaxPool2x2(2)(y), F.max_pool2d(y, 2))
    for net in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert net[0].followed_by == (net[1],) and net[0].followed_by[0] is not ours[1]
        assert torch.equal(net(x), ours(x))
    ours[1].ceil_mode = True
    assert ours[0](x).shape[2:] == (16, 16)


@pytest.mark.parametrize("size", [(1, 5), (2, 2), (3, 3), (4, 3)])
def test_maps_too_small_for_a_pool_are_told_as_pytorch_tells_them(size):
    theirs = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
    ours, x = kernels.apply(copy.deepcopy(theirs)), torch.randn(2, 3, *size)
    if min(size) < 2:
        with pytest.raises(RuntimeError, match="too small"):
            ours(x)
    else:
        same(ours, theirs, x)


def test_a_traced_network_has_its_convolution_and_pool_as_they_are():
    ours = kernels.apply(pool_net())
    graph = fx.symbolic_trace(ours)
    assert [node.op for node in graph.graph.nodes][1:-1] == ["call_module"] * 6
    x = images(2, 16)
    torch.testing.assert_close(graph(x), ours(x))


def test_an_order_that_differs_between_training_and_evaluation_gives_no_pair():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.act = nn.BatchNorm2d(3), nn.ReLU()

        def forward(self, x):
            x = self.norm(x)
            return self.act(x) if self.training else x

    net = Net()
    assert not neighbours(net)[0]
    same(kernels.apply(copy.deepcopy(net)).eval(), net.eval())


def test_a_network_without_a_graph_has_no_pairs_but_its_parts_are_compiled():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = small()

        def forward(self, x):
            return self.parts(x) if x.sum() > 0 else self.parts(x + 1)

    net = Net()
    ours = kernels.apply(copy.deepcopy(net))
    assert not neighbours(net)[0] and [type(one) for one in ours.parts[1:]] == [nn.BatchNorm2d, GELU, MaxPool2x2]
    same(ours, net)


def test_an_activation_whose_input_no_norm_has_activated_applies_itself():
    theirs = small()
    ours = kernels.apply(copy.deepcopy(theirs))
    assert ours[1].followed_by == (ours[2],)
    x = ours[0](images())
    y = ours[1](x)
    assert torch.equal(ours[2](y), y)
    torch.testing.assert_close(y, F.gelu(theirs[1](x)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[2](ours[2](y)), F.gelu(y), atol=1e-5, rtol=1e-5)  # once alone
    torch.testing.assert_close(GELU()(ours[1](x)), F.gelu(F.gelu(theirs[1](x))), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", [1, 2])
def test_hooks_see_what_pytorchs_modules_give(place):
    theirs = small()
    ours = kernels.apply(copy.deepcopy(theirs))
    seen = []
    for net in (ours, theirs):
        net[place].register_forward_hook(lambda module, given, out: seen.append((*given, out)))
    x = images()
    same(ours, theirs, x)
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_hooks_on_all_modules_see_them_too():
    theirs, seen = small(), []
    ours = kernels.apply(copy.deepcopy(theirs))
    hook = nn.modules.module.register_module_forward_hook(lambda module, given, out: seen.append(out))
    x = images()
    try:
        same(ours, theirs, x)
    finally:
        hook.remove()
    for one, other in zip(seen[:4], seen[5:9], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_copies_and_pickles_stay_right():
    theirs = small()
    ours = kernels.apply(copy.deepcopy(theirs))
    for net in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert net[1].followed_by == (net[2],) and net[1].followed_by[0] is not ours[2]
        same(net, theirs)
        theirs.load_state_dict(net.state_dict())


def test_applied_again_nothing_changes():
    theirs = small()
    ours = kernels.apply(kernels.apply(copy.deepcopy(theirs)))
    assert ours[1].followed_by == (ours[2],)
    same(ours, theirs)


def test_norms_are_folded_afterwards_and_activations_are_not_lost():
    theirs = built("speedrun")
    ours = kernels.apply(copy.deepcopy(theirs))
    x = images()
    for net in (ours, theirs):
        net(x)
        net.eval()
    with torch.no_grad():
        folded = fold_batch_norm(ours)
        assert sum(isinstance(one, nn.BatchNorm2d) for one in folded.modules()) == 3
        same(folded, theirs, x)
        same(folded, ours, x)


def test_a_norm_and_an_activation_in_two_runs_that_are_computed_again_stay_right():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.act = nn.BatchNorm2d(3), nn.GELU()

        def forward(self, x):
            x = checkpoint(self.norm, x, use_reentrant=False)
            return checkpoint(self.act, x, use_reentrant=False)

    theirs = Net()
    ours = kernels.apply(copy.deepcopy(theirs))
    gradients = []
    x = images().requires_grad_()
    same(ours, theirs, x)
    for net in (ours, theirs):
        gradients.append(torch.autograd.grad(net(x).square().sum(), x)[0])
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_checkpointing_of_whole_runs_computes_the_same():
    theirs = nn.Sequential(*small(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 4))
    ours = kernels.apply(checkpointing.apply(copy.deepcopy(theirs)))
    x, gradients = images(), []
    for net in (ours, theirs):
        net(x).square().mean().backward()
        gradients.append([one.grad for one in net.parameters()] + [one.float() for one in net.buffers()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_the_switch_leaves_everything_to_pytorch(monkeypatch):
    monkeypatch.setenv("STEEPEST_KERNELS", "off")
    theirs, x = small(), images()
    assert torch.equal(kernels.apply(copy.deepcopy(theirs))(x), theirs(x))


def test_classes_of_ones_own_are_left_alone():
    class Norm(nn.BatchNorm2d):
        pass

    class Act(nn.GELU):
        def forward(self, input):
            return super().forward(input) + 1

    net = replace.apply(nn.Sequential(Norm(3), nn.ReLU(), nn.BatchNorm2d(3), Act()))
    assert type(net[0]) is Norm and type(net[3]) is Act and type(net[2]) is nn.BatchNorm2d


def test_an_activation_that_only_sets_torchs_up_is_compiled_as_torchs_is():
    net = celu.apply(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), alpha=0.3)
    theirs, x = copy.deepcopy(net), torch.randn(4, 8, 6, 6).contiguous(memory_format=LAST)
    assert type(replace.apply(net)[1]) is CELU and type(net[0]) is BatchNorm2d
    torch.testing.assert_close(net(x), theirs(x))
