"""Lanes trained by PyTorch's operators on stacked parameters, where there is no compiler; the compiled lanes' twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .net import OPTIMIZERS, Net, Rule
from .span import Passed, Rows, Span, Stack

AT_ONCE = 500
"""Rows in evaluation."""
FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.tanh, torch.sigmoid)
NESTEROV, INSIDE, ADAM, ADAMW = map(OPTIMIZERS.index, ("nesterov", "momentum", "adam", "adamw"))


class Plain(Stack):
    """Each parameter and running statistic of the K lanes is one tensor (K, …); they share a kind of optimiser."""

    def __init__(
        self, net: Net, rules: Sequence[Rule], states: Sequence[Sequence[Tensor]], rows: Rows, held: Rows | None
    ) -> None:
        self.net, self.rules, self.rows, self.held = net, list(rules), rows, held
        self.tensors = [torch.stack(parts) for parts in zip(*states, strict=True)]
        self.first = [torch.zeros_like(tensor) for tensor in self.tensors]
        self.second = [torch.zeros_like(tensor) for tensor in self.tensors]

    def advance(self, span: Span) -> Passed:
        torch.set_flush_denormal(True)
        lanes = list(range(len(self.rules)))
        figures, sums = np.zeros((len(lanes), len(span.ends), 4)), np.zeros((len(lanes), 2))
        died: list[tuple[int, float] | None] = [None] * len(lanes)
        for number, places in enumerate(span.order):
            x, targets = self.rows.normalised(places), self.rows.targets[places]
            losses, correct, gradients = self._gradients(x, targets, [mask[number] for mask in span.masks])
            alive = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
            if len(alive) < len(lanes):
                for place in set(range(len(lanes))) - set(alive):
                    died[lanes[place]] = span.first + number, losses[place]
                lanes = [lanes[place] for place in alive]
                self.keep(alive)
                gradients = [None if gradient is None else gradient[alive] for gradient in gradients]
            sums[lanes] += np.stack([np.array(losses)[alive] * len(x), np.array(correct)[alive]], 1)
            if not lanes:
                break
            self._move(gradients, self._now(span, lanes, number), span.first + number + 1)
            if span.first + number + 1 in span.ends:
                point = span.ends.index(span.first + number + 1)
                figures[lanes, point] = np.concatenate([sums[lanes], self._held()], 1)
                sums[:] = 0
        return Passed(figures, died)

    def keep(self, places: Sequence[int]) -> None:
        self.rules = [self.rules[place] for place in places]
        for name in ("tensors", "first", "second"):
            setattr(self, name, [tensor[list(places)] for tensor in getattr(self, name)])

    def state(self, place: int) -> list[Tensor]:
        return [tensor[place].clone() for tensor in self.tensors]

    def _layers(self) -> list[list[Tensor]]:
        """Weight and bias of each layer; in the place of the bias γ, β, running mean and variance of a batch norm."""
        size = 5 if self.net.norm else 2
        return [self.tensors[at : at + size] for at in range(0, len(self.tensors), size)]

    def _gradients(
        self, x: Tensor, targets: Tensor, masks: Sequence[Tensor]
    ) -> tuple[list[float], list[float], list[Tensor | None]]:
        """Each lane's mean loss, its correct rows, and the gradients of all tensors, None for the statistics."""
        trained = [one for layer in self._layers() for one in layer[:3]]
        for tensor in trained:
            tensor.requires_grad_()
        scores = self._scores(x, masks)
        losses = self._losses(scores, targets, self.net.smoothing).mean(1)
        found = iter(torch.autograd.grad(losses.sum(), trained))  # a lane's loss hangs on its own parameters alone
        for tensor in trained:
            tensor.requires_grad_(False)
        gradients = [next(found) if place < 3 else None for layer in self._layers() for place in range(len(layer))]
        return losses.tolist(), self._correct(scores.detach(), targets), gradients

    def _scores(self, x: Tensor, masks: Sequence[Tensor] | None) -> Tensor:
        """(n, D) -> (K, n, outputs), in training with masks, without them in evaluation."""
        stream, count = x, len(self.rules)
        for number, (weight, *more) in enumerate(self._layers()):
            normed = len(more) > 1
            bias = weight.new_zeros(()) if normed else more[0].unsqueeze(1)
            given = stream
            if number and self.net.kept is not None:
                given = stream * self.net.kept[1] if masks is None else stream * masks[number - 1] * self.net.kept[0]
            if number:
                scores = torch.baddbmm(bias, given, weight.transpose(1, 2))
            else:  # all lanes see the same rows: one product
                wide = given @ weight.flatten(0, 1).t()
                scores = wide.view(len(x), count, -1).transpose(0, 1) + bias
            if number == len(self.net.hidden):
                break
            if normed:
                scores = self._normed(scores, more, masks is not None)
            active = FUNCTIONS[self.net.activation](scores)
            stream = active + stream if self.net.residual and weight.shape[1] == weight.shape[2] else active
        return scores

    def _normed(self, scores: Tensor, norm: Sequence[Tensor], training: bool) -> Tensor:
        gamma, beta, *running = norm
        eps, share = self.net.norm or (0.0, 0.0)
        if training:
            variance, mean = torch.var_mean(scores, 1, correction=0)
            unbiased = variance.detach() * (scores.shape[1] / (scores.shape[1] - 1))
            for kept, new in zip(running, (mean.detach(), unbiased), strict=True):
                kept.lerp_(new, share)
        else:
            mean, variance = running
        scale = gamma * torch.rsqrt(variance + eps)
        return (scores - mean.unsqueeze(1)) * scale.unsqueeze(1) + beta.unsqueeze(1)

    def _losses(self, scores: Tensor, targets: Tensor, smoothing: float | None) -> Tensor:
        """(K, n): of the cross-entropy with its smoothing, or where that is None of the squared error."""
        many = (len(scores), *targets.shape)
        if smoothing is None:
            wanted = F.one_hot(targets, scores.shape[2]).float() if self.net.classes else targets
            return (scores - wanted).square().mean(2)
        flat = targets.expand(many).flatten()
        losses = F.cross_entropy(scores.flatten(0, 1), flat, reduction="none", label_smoothing=smoothing)
        return losses.view(many)

    def _correct(self, scores: Tensor, targets: Tensor) -> list[float]:
        """Of each lane how many rows are taken for what they are."""
        found = (scores.argmax(2) == targets).sum(1) if self.net.classes else torch.zeros(len(scores))
        return [float(count) for count in found.tolist()]

    @torch.no_grad()
    def _held(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """(K, 2): each lane's sum of losses over the validation rows, and how many of them are correct."""
        sums = np.zeros((len(self.rules), 2))
        for low in range(0, len(self.held or ()), AT_ONCE):
            assert self.held is not None
            part = slice(low, low + AT_ONCE)
            targets, scores = self.held.targets[part], self._scores(self.held.normalised(part), None)
            losses = self._losses(scores, targets, 0.0 if self.net.classes else None).sum(1)
            sums += np.stack([losses.double().numpy(), self._correct(scores, targets)], 1)
        return sums

    def _now(self, span: Span, lanes: Sequence[int], number: int) -> list[Rule]:
        """The rules of the lanes as they are at one step of a span."""
        rates = [span.rates[lane][number] for lane in lanes]
        momenta = [span.momenta[lane] for lane in lanes]
        return [
            one.at(float(rate), None if changing is None else float(changing[number]))
            for one, rate, changing in zip(self.rules, rates, momenta, strict=True)
        ]

    def _move(self, gradients: Sequence[Tensor | None], rules: Sequence[Rule], times: int) -> None:
        """One step of the optimiser, the `times`-th."""
        kind = rules[0].kind
        columns = torch.tensor([_numbers(one, times) for one in rules]).t()
        for w, m, s, g in zip(self.tensors, self.first, self.second, gradients, strict=True):
            if g is None:
                continue
            lr, mu, decay, shrink, beta2, fresh, over, eps = (part.view(-1, *[1] * (w.dim() - 1)) for part in columns)
            if kind == INSIDE:
                w.add_(m.mul_(mu).sub_(lr * g + lr * decay * w))
                continue
            g = g + decay * w
            if kind in (ADAM, ADAMW):
                m.add_((g - m) * mu)
                s.mul_(beta2).add_(fresh * g * g)
                w.mul_(shrink).sub_(lr * m / (s.sqrt() * over + eps))
            else:
                m.copy_(torch.where(mu == 0, m, mu * m + g))
                w.sub_(lr * torch.where(mu == 0, g, g + mu * m if kind == NESTEROV else m))


def _numbers(rule: Rule, times: int) -> tuple[float, ...]:
    """What one lane's step needs, computed in double precision; of Adam's the share of the new in the mean."""
    if rule.kind not in (ADAM, ADAMW):
        return rule.lr, rule.momentum, rule.weight_decay, 1.0, 0.0, 0.0, 0.0, 0.0
    apart = rule.kind == ADAMW
    shrink, decay = (1 - rule.lr * rule.weight_decay, 0.0) if apart else (1.0, rule.weight_decay)
    lr, over = rule.lr / (1 - rule.momentum**times), 1 / math.sqrt(1 - rule.beta2**times)
    return lr, 1 - rule.momentum, decay, shrink, rule.beta2, 1 - rule.beta2, over, rule.eps
