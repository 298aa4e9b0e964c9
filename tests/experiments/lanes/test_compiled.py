"""The compiled lanes against the plain ones, for any shape and in every width of vector."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.experiments.lanes import compiled
from steepest.experiments.lanes.compiled import Compiled
from steepest.experiments.lanes.net import Net, Rule
from steepest.experiments.lanes.plain import Plain
from steepest.experiments.lanes.span import Rows, Span
from steepest.kernels import library

pytestmark = pytest.mark.skipif(library.library() is None, reason="no compiled kernels here")
STEPS = 4


def stacks(net, kinds, batch=7, seed=0):
    """Both kinds of stack with the same lanes, two of each kind of optimiser, and a span for them."""
    drawn = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(*shape, generator=drawn)

    def part(count):
        targets = torch.randint(0, net.sizes[-1], (count,), generator=drawn)
        rows = torch.randint(0, 256, (count, net.sizes[0]), generator=drawn).to(torch.uint8)
        scale = 0.01 + 0.005 * torch.rand(net.sizes[0], generator=drawn)
        return Rows(rows, scale, some(net.sizes[0]), targets if net.classes else some(count, net.sizes[-1]))

    def state():
        for layer, (inputs, units) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
            yield some(units, inputs) / inputs**0.5
            if net.norm and layer < len(net.hidden):
                yield from (1 + 0.1 * some(units), some(units), some(units), 1 + some(units).abs())
            else:
                yield some(units)

    states = [list(state()) for _ in range(2 * len(kinds))]
    rules = [Rule(kind, 0.01 + 0.01 * i, 0.5 + 0.4 * i, 0.1 * i, 0.99, 1e-3) for kind in kinds for i in (0, 1)]
    rows, held = part(20), part(70)
    order = torch.randint(0, 20, (STEPS, batch), generator=drawn)
    masks = tuple(torch.rand(STEPS, batch, units, generator=drawn) < 0.7 for units in net.hidden) if net.kept else ()
    rates = [np.linspace(0.5, 1, STEPS)] * len(rules)
    span = Span(3, order, masks, (5, 3 + STEPS), rates, [None] * len(rules))
    return [kind(net, rules, states, rows, held) for kind in (Compiled, Plain)], span


def agree(net, kind, **more):
    both, span = stacks(net, [kind], **more)
    passed = [stack.advance(span) for stack in both]
    assert passed[0].died == passed[1].died == [None, None]
    np.testing.assert_allclose(passed[0].figures, passed[1].figures, rtol=1e-4, atol=1e-4)
    for place in (0, 1):
        for mine, plain in zip(both[0].state(place), both[1].state(place), strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-4)


NETS = st.builds(
    Net,
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4).map(lambda sizes: (*sizes, 3)),
    activation=st.integers(1, 2),  # smooth ones: where ReLU bends, rounding decides
    residual=st.booleans(),
    norm=st.sampled_from([None, (1e-2, 0.1)]),
    kept=st.sampled_from([None, (1.25, 1.0), (1.0, 0.8)]),
    smoothing=st.sampled_from([None, 0.0, 0.3]),
    classes=st.just(True),
)


@settings(deadline=None, max_examples=60)
@given(net=NETS, kind=st.integers(0, 4), batch=st.integers(2, 40))
def test_compiled_lanes_agree_with_plain_ones(net, kind, batch):
    torch.set_num_threads(1)
    agree(net, kind, batch=batch)


PLAIN = Net((5, 17, 17, 3), 1, True, (1e-2, 0.1), (1.25, 1.0), 0.1, True)


@pytest.mark.parametrize("net", [PLAIN, Net((6, 40, 1), 2, False, None, None, None, False)])
@pytest.mark.parametrize("target", [[], ["-mavx2", "-mfma"]], ids=str)
def test_other_widths_of_vector_compute_the_same(tmp_path, monkeypatch, target, net):
    if target and not {"avx2", "fma"} <= set(" ".join(library._processor()).split()):
        pytest.skip("not a processor with AVX2")
    made = tmp_path / "lanes.so"
    words = [*library.FLAGS, "-O1", *target, "-shared", "-o", str(made), str(library.FOLDER / "lanes.cpp")]
    subprocess.run([*library.find_compiler(), *words], check=True, timeout=300)
    other = ctypes.CDLL(str(made))
    other.steepest_lanes.argtypes = library.once().steepest_lanes.argtypes
    monkeypatch.setattr(compiled, "once", lambda: other)
    for kind in range(5):
        agree(net, kind)


def test_lanes_are_kept_in_their_order_and_a_state_is_a_copy():
    both, span = stacks(PLAIN, [0, 0])
    for stack in both:
        stack.advance(span)
        before = [stack.state(place) for place in range(4)]
        stack.keep([1, 3])
        for place, old in enumerate((before[1], before[3])):
            for mine, wanted in zip(stack.state(place), old, strict=True):
                assert torch.equal(mine, wanted)
        kept = stack.state(0)
        stack.advance(Span(7, span.order, span.masks, (7 + STEPS,), span.rates[:2], span.momenta[:2]))
        assert all(torch.equal(one, other) for one, other in zip(kept, before[1], strict=True))


def test_no_memory_is_told(monkeypatch):
    class Full:
        @staticmethod
        def steepest_lanes(*given):
            return 1

    (stack, _), span = stacks(PLAIN, [0])
    monkeypatch.setattr(compiled, "once", Full)
    with pytest.raises(MemoryError, match="no memory for the work of the compiled lanes"):
        stack.advance(span)
